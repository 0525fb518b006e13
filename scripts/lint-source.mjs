// The rules on source text that no linter here can express; prints each breach and ends non-zero on any.
// Owner: the tool chain. Looks at every file that git knows or would add, so nothing generated is judged.
// A rule is one entry of the table: which files, which lines, and what to do instead.
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const repo = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const thisFile = 'scripts/lint-source.mjs';
const longestFile = 400;

const isTest = (file) => /(^|\/)(test|bench|e2e|testing)\/|\/src\/(testing|conformance)\.ts$/.test(file);
const ownsTime = (file) => file === 'libs/service/src/clock.ts' || isTest(file) || !file.endsWith('.ts');

const lineRules = [
  {
    pattern: /\b(TODO|FIXME|XXX|HACK)\b/,
    says: 'a left-behind marker: do it, or say in prose why not',
  },
  {
    pattern: /\b(test|it|describe)\.(skip|only|todo|failing)\b|\b(xit|xtest|xdescribe|fit|fdescribe)\(/,
    says: 'a test that does not run, or hides others',
  },
  {
    pattern: /\b(eslint|oxlint|biome)-(disable|ignore)|@ts-(ignore|nocheck)/,
    says: 'a switched-off check: mend the code, or the rule for all',
  },
  {
    pattern: /@ts-expect-error/,
    allowed: isTest,
    says: 'a hidden type error: only a test may state that something must not compile',
  },
  {
    pattern: /new Date\(\)/,
    allowed: ownsTime,
    says: 'the wall clock: ask the Clock of @nephos/service',
  },
];

function breachesIn(file) {
  const text = fs.readFileSync(path.join(repo, file), 'utf8');
  const lines = text.split('\n');
  const found = [];
  const start = lines.slice(0, 8).join('\n');
  if (lines.length > longestFile + 1 && !start.includes('Long because:')) {
    found.push(
      `${file}: ${lines.length - 1} lines, over ${longestFile}: split it, or say "Long because: …" at the top`,
    );
  }
  const first = lines[0]?.startsWith('#!') ? lines[1] : lines[0];
  if (!isTest(file) && !/^\s*(\/\/|\/\*)/.test(first ?? '')) {
    found.push(`${file}:1: begins without the comment that says what the file is for`);
  }
  for (const rule of lineRules) {
    if (rule.allowed?.(file)) continue;
    lines.forEach((line, index) => {
      if (rule.pattern.test(line)) found.push(`${file}:${index + 1}: ${rule.says}`);
    });
  }
  return found;
}

const files = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard', '-z'], {
  cwd: repo,
  encoding: 'utf8',
})
  .split('\0')
  .filter(
    (file) => /\.(ts|mjs|cjs|js)$/.test(file) && file !== thisFile && fs.existsSync(path.join(repo, file)),
  );

const breaches = files.flatMap(breachesIn);
for (const breach of breaches) console.error(breach);
console.log(`source rules: ${files.length} files, ${breaches.length} breaches`);
process.exitCode = breaches.length > 0 ? 1 : 0;
