/**
 * Certificates of TLS servers: for the parts of the product that make one or watch its expiry. It is no
 * library.
 */
export { certificateValidity } from './certificate.ts';
export { makeServerCertificate } from './certificate-writer.ts';
export type { ServerCertificate } from './certificate-writer.ts';
