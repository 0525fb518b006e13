/**
 * The catalog over plain HTTP: `/schemas/{id}.json` and `/asyncapi.json`, so that the `dataschema` of an event leads
 * somewhere. Read only, without state, and bounded: few connections, short headers, no bodies, no files behind it.
 */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Unavailable } from '@nephos/service';
import type { Catalog } from '../catalog.ts';

export interface SchemaServer extends AsyncDisposable {
  /** `http://host:port`. */
  readonly url: string;
}

const limits = {
  connections: 100,
  headerBytes: 8 * 1024,
  headersMs: 5_000,
  requestMs: 10_000,
  keepAliveMs: 5_000,
};

/** Throws `Unavailable` where the address cannot be had. */
export async function serveSchemas(
  catalog: Catalog,
  { host, port }: { readonly host: string; readonly port: number },
): Promise<SchemaServer> {
  const server = createServer(
    {
      maxHeaderSize: limits.headerBytes,
      headersTimeout: limits.headersMs,
      requestTimeout: limits.requestMs,
      keepAliveTimeout: limits.keepAliveMs,
      // How often the limits above are looked at.
      connectionsCheckingInterval: limits.headersMs,
    },
    (request, response) => answer(catalog, request, response),
  );
  server.maxConnections = limits.connections;
  // Also who does not read the answer goes.
  server.setTimeout(limits.requestMs);
  server.listen(port, host);
  try {
    await once(server, 'listening');
  } catch (cause) {
    throw new Unavailable('SERVICE_UNAVAILABLE', `cannot serve schemas on ${host}:${port}`, { cause });
  }
  const { port: bound } = server.address() as AddressInfo;
  return {
    url: `http://${host.includes(':') ? `[${host}]` : host}:${bound}`,
    async [Symbol.asyncDispose]() {
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

function answer(catalog: Catalog, request: IncomingMessage, response: ServerResponse): void {
  response.setHeader('X-Content-Type-Options', 'nosniff');
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    return end(response, 405, { Allow: 'GET, HEAD', Connection: 'close' });
  }
  const [path = ''] = (request.url ?? '').split('?');
  const found = documentAt(catalog, path);
  if (!found) return end(response, 404, { 'Content-Type': 'text/plain; charset=utf-8' }, whatIsHere);
  const body = Buffer.from(found.content);
  const etag = `"${createHash('sha256').update(body).digest('base64url').slice(0, 22)}"`;
  const headers = { ETag: etag, 'Cache-Control': 'public, max-age=300', 'Access-Control-Allow-Origin': '*' };
  if (request.headers['if-none-match'] === etag) return end(response, 304, headers);
  response.writeHead(200, { ...headers, 'Content-Type': found.type, 'Content-Length': body.length });
  response.end(request.method === 'HEAD' ? undefined : body);
}

function documentAt(
  catalog: Catalog,
  path: string,
): { readonly content: string; readonly type: string } | undefined {
  if (path === '/asyncapi.json')
    return { content: catalog.asyncApi, type: 'application/vnd.aai.asyncapi+json' };
  const id = /^\/schemas\/([A-Za-z0-9_.-]+)\.json$/.exec(path)?.[1];
  const content = id === undefined ? undefined : catalog.schemas.get(id);
  return content === undefined ? undefined : { content, type: 'application/schema+json' };
}

const whatIsHere = 'Here are /asyncapi.json, which names all schemas, and /schemas/{id}.json for each.\n';

function end(
  response: ServerResponse,
  code: number,
  headers: Readonly<Record<string, string>>,
  text = '',
): void {
  response.writeHead(code, { ...headers, ...(code !== 304 && { 'Content-Length': String(text.length) }) });
  response.end(text);
}
