import { readCertificate } from '../x509/certificate.ts';
import type { Certificate } from '../x509/certificate.ts';
import type { NotationRequirement, StoreType, TrustStore } from '../requirements/notation.ts';

const opened = new WeakMap<TrustStore, readonly Certificate[]>();

/** Returns the certificates of a requirement's stores of one type. Each store is read once. */
export function trusted({ stores }: NotationRequirement, type: StoreType): readonly Certificate[] {
  return stores.filter((store) => store.type === type).flatMap(certificatesOf);
}

function certificatesOf(store: TrustStore): readonly Certificate[] {
  let certificates = opened.get(store);
  if (certificates === undefined) {
    certificates = store.certificates.map(({ der }) => readCertificate(Buffer.from(der, 'base64')));
    opened.set(store, certificates);
  }
  return certificates;
}

/** Returns the store and file that contain a certificate, for reasons. */
export function placeOf({ stores }: NotationRequirement, certificate: Certificate): string {
  const der = certificate.raw.toString('base64');
  const store = stores.find(({ certificates }) => certificates.some((one) => one.der === der));
  return store === undefined ? 'a trust store' : `the trust store ${store.name}`;
}
