export { createHttpClient, isRedirect, sharedHttpClient } from './client.ts';
export type { HttpClient, HttpClientOptions, HttpRequest, RequestBody } from './client.ts';
export type { HttpAnswer } from './answer.ts';
export type { TlsIdentity } from './tls-identity.ts';
export { isHttpError } from './failure.ts';
export type { HttpCode } from './failure.ts';
export { classOfHost, isLoopback } from './address.ts';
export { retryAfterMs } from './retry-after.ts';
