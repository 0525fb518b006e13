/** The surface of @nephos/directory/identity: who issues services' tokens where Kubernetes does not. */
export {
  directoryAudience,
  type Issuer,
  openIssuer,
  type TokenClaims,
  tokenFile,
  trustFile,
} from './issuer.ts';
