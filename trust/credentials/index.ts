/**
 * Credentials for registries, found for one registry or read from a request: for the parts of the product
 * that talk to a registry without `openRegistries`. It is no library.
 */
export { credentialsOf } from './find-credentials.ts';
export { credentialsIn } from './credentials-in.ts';
