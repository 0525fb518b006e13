// Which folder may import which, one rule a wall, each with its reason. `pnpm layers` checks them.
// Owner: the tool chain. Arrows run one way: services -> libs -> proto; above them stand cli, deploy and e2e.
const testFiles = '/(test|bench)/|^e2e/';
const testingParts = '^libs/testing/|^libs/[^/]+/src/(testing|conformance)([.]ts$|/)';
const ioModules =
  '^(node:)?(child_process|cluster|dgram|dns|fs|http|https|http2|inspector|net|os|process|readline|sqlite|timers|tls|tty|worker_threads)(/|$)';

/** @type {import('dependency-cruiser').IConfiguration} */
module.exports = {
  forbidden: [
    {
      name: 'proto-stands-alone',
      severity: 'error',
      comment: 'The contracts are what everything else agrees on: they can depend on nothing of it.',
      from: { path: '^proto/' },
      to: { path: '^(libs|services|cli|deploy|e2e)/' },
    },
    {
      name: 'libs-know-no-service',
      severity: 'error',
      comment:
        'A library that knows a service drags it into every other. Only libs/testing may: it composes the whole platform in one process.',
      from: { path: '^libs/', pathNot: '^libs/testing/' },
      to: { path: '^(services|cli|deploy|e2e)/' },
    },
    {
      name: 'testing-is-for-tests',
      severity: 'error',
      comment:
        'libs/testing imports services: shipped code that imported it would close a circle. The testing parts of other libraries start servers and know jest.',
      from: { path: '^(proto|libs|services|cli|deploy)/', pathNot: `${testFiles}|${testingParts}` },
      to: { path: testingParts },
    },
    {
      name: 'testing-stays-below-the-top',
      severity: 'error',
      comment: 'libs/testing composes services; the programs and whole-system tests stand above it.',
      from: { path: '^libs/testing/' },
      to: { path: '^(cli|deploy|e2e)/' },
    },
    {
      name: 'services-are-strangers',
      severity: 'error',
      comment:
        "A service calls another's contract and never imports its code, so each runs and changes alone.",
      from: { path: '^services/([^/]+)/' },
      to: { path: '^services/', pathNot: '^services/$1/' },
    },
    {
      name: 'services-stay-below-the-top',
      severity: 'error',
      comment: 'cli, deploy and e2e use services: not the other way round.',
      from: { path: '^services/' },
      to: { path: '^(cli|deploy|e2e)/' },
    },
    {
      name: 'cli-is-a-client',
      severity: 'error',
      comment: 'The command line has what every client has: the contracts and the libraries.',
      from: { path: '^cli/' },
      to: { path: '^(services|deploy|e2e)/' },
    },
    {
      name: 'deploy-needs-no-test',
      severity: 'error',
      comment: 'What users start must not depend on tests.',
      from: { path: '^deploy/' },
      to: { path: '^(cli|e2e)/' },
    },
    {
      name: 'domain-does-no-io',
      severity: 'error',
      comment: 'domain/ decides and is tested without a world; jobs/ and adapters/ act.',
      from: { path: '^services/[^/]+/src/domain/' },
      to: { path: ioModules },
    },
    {
      name: 'domain-uses-no-io-library',
      severity: 'error',
      comment:
        'Of the libraries a domain needs errors, ids and the clock (libs/service); the others talk to disk or network.',
      from: { path: '^services/[^/]+/src/domain/' },
      to: {
        path: '^libs/(?!service/)|node_modules/(@grpc|@nats-io|mongodb|pino)/',
      },
    },
    {
      name: 'domain-looks-at-nothing-above',
      severity: 'error',
      comment: 'api/, jobs/ and adapters/ call the domain, so that it can be read by itself.',
      from: { path: '^services/([^/]+)/src/domain/' },
      to: { path: '^services/[^/]+/src/', pathNot: '^services/$1/src/domain/' },
    },
    {
      name: 'api-leaves-the-world-to-adapters',
      severity: 'error',
      comment:
        'Handlers validate, call and map errors; what touches the world is handed to them by service.ts.',
      from: { path: '^services/[^/]+/src/api/' },
      to: { path: ioModules },
    },
    {
      name: 'packages-by-name',
      severity: 'error',
      comment:
        "Another package is reached by its name, so that its exports say what it offers; '../' goes round them.",
      from: { path: '^(proto|cli|e2e|deploy/[^/]+|libs/[^/]+|services/[^/]+)/' },
      to: { path: '^(proto|cli|e2e|deploy|libs|services)/', pathNot: '^$1/', dependencyTypes: ['local'] },
    },
    {
      name: 'tests-stay-out-of-the-product',
      severity: 'error',
      comment: 'Shipped code that imports a test cannot be shipped without it.',
      from: { pathNot: testFiles },
      to: { path: testFiles, pathNot: 'node_modules' },
    },
    {
      name: 'no-circles',
      severity: 'error',
      comment: 'Files in a circle have one reason to exist between them: they are one file, or badly cut.',
      from: {},
      // A circle that a type closes is none at run time.
      to: { circular: true, viaOnly: { dependencyTypesNot: ['type-only'] } },
    },
    {
      name: 'everything-resolves',
      severity: 'error',
      comment: 'An import that resolves to nothing is not checked by any rule above.',
      from: {},
      to: { couldNotResolve: true },
    },
    {
      name: 'declared-dependencies',
      severity: 'error',
      comment: 'A package that is not in package.json is there by luck only.',
      from: { pathNot: testFiles },
      to: { dependencyTypes: ['npm-no-pkg', 'npm-unknown'] },
    },
  ],
  options: {
    parser: 'tsc',
    tsPreCompilationDeps: true,
    doNotFollow: { path: 'node_modules|^proto/gen/' },
    exclude: { path: '(^|/)[.](cache|deps)/' },
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['import', 'node', 'default'],
      extensions: ['.ts', '.mjs', '.js', '.json'],
      mainFields: ['module', 'main'],
    },
    cache: false,
  },
};
