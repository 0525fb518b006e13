/**
 * The configuration that every service has, whatever it does. Each key is `NEPHOS_<KEY>`, and
 * `NEPHOS_<SERVICE>_<KEY>` wins over it where several services share an environment.
 */
import path from 'node:path';
import { hostAndPort } from './address.ts';
import {
  type ConfigField,
  type ConfigSchema,
  type ConfigValues,
  config,
  type Environment,
  parseConfig,
} from './config.ts';

/** `host:port`, checked when given. */
function addressField(description: string, fallback: string, hostAlone = false): ConfigField<string> {
  return {
    description,
    fallback: { value: fallback },
    secret: false,
    parse(text) {
      if (!hostAlone || text.includes(':')) hostAndPort(text);
      return text;
    },
  };
}

const commonSchema = {
  bind: addressField('host:port to listen on; port 0 takes a free one', '127.0.0.1:0'),
  advertise: addressField('host or host:port that others reach this service at', '', true),
  zone: config.text({ description: 'the zone that this instance serves, if one', default: '' }),
  data: config.path({
    description: 'folder that this service keeps its files in',
    default: path.resolve('data'),
  }),
  store: config.text({
    description: 'sqlite://<file> or mongodb://…; a file in the data folder by default',
    default: '',
  }),
  nats: config.urls({
    description: 'the broker, or the servers of its cluster, comma-separated',
    default: 'nats://127.0.0.1:4222',
    schemes: ['nats', 'tls', 'ws', 'wss'],
  }),
  natsReplicas: config.integer({
    description: 'copies of each stream that the brokers keep; 3 on a cluster of three servers or more',
    default: 1,
    min: 1,
    max: 5,
  }),
  natsCreds: config.text({
    description: 'file of NATS credentials, read at each connection; none where the broker asks for none',
    default: '',
  }),
  schemaBase: config.text({
    description: 'http://host:port that events say their JSON Schemas are served at; empty: nowhere',
    default: '',
  }),
  directory: config.text({ description: 'seeds of the directory: host:port, comma-separated', default: '' }),
  identity: config.text({
    description: 'file with the token by which this service proves to the directory who it is',
    default: '',
  }),
  logLevel: config.choice(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'], {
    description: 'what is logged: this level and above',
    default: 'info',
  }),
  logTo: config.choice(['stdout', 'stderr'], { description: 'where log lines go', default: 'stderr' }),
  metricsBind: addressField('host:port to serve Prometheus metrics on; off by default', ''),
  failpoints: config.text({ description: 'unix socket of a test that controls the failpoints', default: '' }),
  drainDelay: config.duration({
    description: 'how long a draining service still takes calls, so that callers learn of it',
    default: 300,
  }),
  drainGrace: config.duration({
    description: 'how long a draining service waits for its calls to end',
    default: 10_000,
  }),
} satisfies ConfigSchema;

/** The common keys as parsed. `directory` is a list; `store` is never empty. */
export type CommonConfig = Omit<ConfigValues<typeof commonSchema>, 'directory'> & {
  readonly directory: readonly string[];
  /** OTLP over HTTP, from OTEL_EXPORTER_OTLP_ENDPOINT; undefined: no spans are exported. */
  readonly otlpEndpoint: string | undefined;
};

export type ConfigOf<S extends ConfigSchema> = CommonConfig & ConfigValues<S>;

/** Parses the common keys and the service's own. Throws one Invalid that names every wrong key. */
export function parseServiceConfig<S extends ConfigSchema>(
  name: string,
  own: S,
  env: Environment,
): ConfigOf<S> {
  const taken = Object.keys(own).find((key) => key in commonSchema);
  if (taken !== undefined) throw new Error(`${name}: every service has the key ${taken} already`);
  const { store, directory, ...plain } = parseConfig(commonSchema, env, name);
  const common: CommonConfig = {
    ...plain,
    store: store === '' ? `sqlite://${path.join(plain.data, `${name}.db`)}` : store,
    directory: directory
      .split(',')
      .map((seed) => seed.trim())
      .filter((seed) => seed !== ''),
    otlpEndpoint: env['OTEL_EXPORTER_OTLP_ENDPOINT'] || undefined,
  };
  const values: ConfigOf<S> = Object.assign({}, parseConfig(own, env, name), common);
  Object.freeze(values);
  return values;
}
