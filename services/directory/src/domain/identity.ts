/** Which service a token speaks for. Pure. */

/** Who a caller is. */
export interface Identity {
  readonly service: string;
  /** The only instance that it may speak for; undefined: any of its service. */
  readonly instance: string | undefined;
}

const serviceForm = /^[a-z][a-z0-9-]{0,62}$/;
const accountForm = /^system:serviceaccount:([^:]+):(?:nephos-)?([^:]+)$/;

/**
 * The subject is the service's name itself; or a Kubernetes service account of the platform's own namespace, whose
 * name is the service's, with or without `nephos-` before it. Undefined: neither.
 */
export function identityOf(
  claims: { readonly sub?: string | undefined; readonly [claim: string]: unknown },
  namespace: string,
): Identity | undefined {
  const { sub = '', instance } = claims;
  const [, where, account] = accountForm.exec(sub) ?? [];
  if (where !== undefined && where !== namespace) return undefined;
  const service = account ?? sub;
  if (!serviceForm.test(service)) return undefined;
  return { service, instance: typeof instance === 'string' ? instance : undefined };
}
