/**
 * Of two statements of an account, servers of a cluster that hold different ones keep the one made later, by the whole
 * seconds of `iat` (RFC 7519); made in the same second, either may win, on all of them. So a statement is made at least
 * a second after the one it replaces, whatever the clock of the process that makes it says. Pure but for the signing.
 */
import { decode, type KeyPair } from '@nats-io/jwt';

/** The statement, with a later time where its own is not later than that of `earlier`. */
export function madeAfter(earlier: string | undefined, statement: string, by: KeyPair): string {
  if (earlier === undefined) return statement;
  const since = decode(earlier).iat + 1;
  const { jti: _of, ...claim } = decode(statement);
  if (claim.iat >= since) return statement;
  const [header = ''] = statement.split('.');
  const content = base64url(JSON.stringify({ ...claim, iat: since, jti: `${claim.sub} ${since}` }));
  const signed = `${header}.${content}`;
  return `${signed}.${base64url(by.sign(Buffer.from(signed)))}`;
}

function base64url(content: string | Uint8Array): string {
  return Buffer.from(content).toString('base64url');
}
