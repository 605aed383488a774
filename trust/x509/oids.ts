/**
 * Object identifiers of certificate purposes (RFC 5280 section 4.2.1.12), of OCSP (RFC 6960) and of SHA-1.
 */
export const oids = {
  ocspBasic: '1.3.6.1.5.5.7.48.1.1',
  anyPurpose: '2.5.29.37.0',
  serverAuth: '1.3.6.1.5.5.7.3.1',
  clientAuth: '1.3.6.1.5.5.7.3.2',
  codeSigning: '1.3.6.1.5.5.7.3.3',
  emailProtection: '1.3.6.1.5.5.7.3.4',
  timeStamping: '1.3.6.1.5.5.7.3.8',
  ocspSigning: '1.3.6.1.5.5.7.3.9',
  sha1: '1.3.14.3.2.26',
} as const;
