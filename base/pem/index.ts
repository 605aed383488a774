export { mentionsPrivateKey, onlyPemBlock, pemBlocks, readPem } from './read.ts';
export type { PemBlock, PemText } from './read.ts';
export { isTlsCertificate, tlsCertificates } from './tls-certificates.ts';
export { writePem } from './write.ts';
