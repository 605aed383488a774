import { describeCertificate, isSelfSigned, isSignedBy, keyUsageBit } from '../x509/certificate.ts';
import type { Certificate } from '../x509/certificate.ts';
import { extensionOid } from '../x509/extensions.ts';
import { pathFlaw } from '../x509/path.ts';
import { oids } from '../x509/oids.ts';

export type ChainPurpose = 'code signing' | 'time stamping';

/** Longer than the chains of any authority. */
export const maximumChain = 10;

/**
 * Checks whether an ordered chain, leaf to self-signed root, meets the Notary Project's requirements
 * (signature-specification.md, "Certificate Requirements"). Trust is not checked.
 * @returns undefined, or a sentence that states the fault
 */
export function chainProblem(chain: readonly Certificate[], purpose: ChainPurpose): string | undefined {
  const [leaf] = chain;
  if (leaf === undefined) return 'its certificate chain is empty';
  if (chain.length > maximumChain) return `its certificate chain has more than ${maximumChain} certificates`;
  const linked = chain.length === 1 ? aloneProblem(leaf) : linkProblem(chain);
  if (linked !== undefined) return linked;
  const wrong = leafProblem(leaf, purpose);
  if (wrong !== undefined) return `the certificate ${describeCertificate(leaf)} ${wrong}`;
  for (const [index, authority] of chain.slice(1).entries()) {
    const problem = authorityProblem(authority, index, purpose);
    if (problem !== undefined) return `the certificate ${describeCertificate(authority)} ${problem}`;
  }
  // The requirements of RFC 5280 for every path: name constraints, and authorities for another use.
  const found = pathFlaw(chain, purpose === 'code signing' ? oids.codeSigning : oids.timeStamping);
  return found === undefined
    ? undefined
    : `the certificate ${describeCertificate(found.certificate)} ${found.flaw}`;
}

function aloneProblem(leaf: Certificate): string | undefined {
  return isSelfSigned(leaf)
    ? undefined
    : `its only certificate ${describeCertificate(leaf)} is not self-signed, so the chain ends without a root`;
}

function linkProblem(chain: readonly Certificate[]): string | undefined {
  for (const [index, certificate] of chain.entries()) {
    const parent = chain[index + 1];
    if (parent === undefined) {
      if (!isSelfSigned(certificate))
        return `its chain does not end with a self-signed root: ${describeCertificate(certificate)} is not self-signed`;
    } else if (isSelfSigned(certificate)) {
      return `the certificate ${describeCertificate(certificate)} is self-signed, and more follow it`;
    } else if (!isSignedBy(certificate, parent)) {
      return `the certificate ${describeCertificate(certificate)} is not issued by the next one, ${describeCertificate(parent)}`;
    }
  }
  return undefined;
}

function leafProblem(leaf: Certificate, purpose: ChainPurpose): string | undefined {
  if (leaf.isAuthority) return 'belongs to an authority, and must not sign';
  const usage = usageProblem(leaf, purpose, keyUsageBit.digitalSignature);
  if (usage !== undefined) return usage;
  // contentCommitment (1) beside digitalSignature is allowed; every other use is not.
  const other = (leaf.keyUsage ?? 0) & ~(keyUsageBit.digitalSignature | keyUsageBit.contentCommitment);
  if (other !== 0)
    return `is for other uses than digital signatures (key usage bits ${bitsOf(other).join(', ')})`;
  const extended = purpose === 'code signing' ? codeSigningProblem(leaf) : timeStampingProblem(leaf);
  return extended ?? keyProblem(leaf);
}

const foreignPurposes: readonly string[] = [
  oids.anyPurpose,
  oids.serverAuth,
  oids.clientAuth,
  oids.emailProtection,
  oids.timeStamping,
  oids.ocspSigning,
];

function codeSigningProblem({ extendedKeyUsage }: Certificate): string | undefined {
  const foreign = extendedKeyUsage?.find((purpose) => foreignPurposes.includes(purpose));
  return foreign === undefined
    ? undefined
    : `is for another purpose than code signing (extended key usage ${foreign})`;
}

/** Checks RFC 3161 section 2.3: exactly this purpose, critical. */
function timeStampingProblem(leaf: Certificate): string | undefined {
  const { extendedKeyUsage } = leaf;
  if (extendedKeyUsage?.length !== 1 || extendedKeyUsage[0] !== oids.timeStamping)
    return 'is not only for time stamping (extended key usage)';
  return isCritical(leaf, extensionOid.extendedKeyUsage)
    ? undefined
    : 'does not mark its extended key usage as critical';
}

function authorityProblem(authority: Certificate, below: number, purpose: ChainPurpose): string | undefined {
  if (!authority.isAuthority) return 'does not belong to an authority, but issues another certificate';
  if (!isCritical(authority, extensionOid.basicConstraints))
    return 'does not mark its basic constraints as critical';
  if (authority.pathLength !== undefined && authority.pathLength < below)
    return `allows ${authority.pathLength} authorities below it, and there are ${below}`;
  return usageProblem(authority, purpose, keyUsageBit.keyCertSign);
}

function usageProblem(certificate: Certificate, purpose: ChainPurpose, bit: number): string | undefined {
  const { keyUsage } = certificate;
  if (keyUsage === undefined) return 'has no key usage';
  if (purpose === 'code signing' && !isCritical(certificate, extensionOid.keyUsage))
    return 'does not mark its key usage as critical';
  if ((keyUsage & bit) !== 0) return undefined;
  return bit === keyUsageBit.keyCertSign
    ? 'may not issue certificates (key usage)'
    : 'may not sign (key usage)';
}

function isCritical({ extensions }: Certificate, oid: string): boolean {
  return extensions.get(oid)?.critical === true;
}

function bitsOf(usage: number): readonly number[] {
  return Array.from({ length: 9 }, (_, bit) => bit).filter((bit) => (usage & (1 << bit)) !== 0);
}

/**
 * Checks the key: RSA of 2048, 3072 or 4096 bits, or ECDSA on P-256, P-384 or P-521
 * (signature-specification.md, "Algorithm Selection").
 */
function keyProblem(leaf: Certificate): string | undefined {
  return signingHash(leaf) === undefined ? 'has a key that the Notary Project does not allow' : undefined;
}

const rsaHashes: Readonly<Record<number, 'sha256' | 'sha384' | 'sha512'>> = {
  2048: 'sha256',
  3072: 'sha384',
  4096: 'sha512',
};
const curveHashes: Readonly<Record<string, 'sha256' | 'sha384' | 'sha512'>> = {
  prime256v1: 'sha256',
  secp384r1: 'sha384',
  secp521r1: 'sha512',
};

/** Returns the only digest that a signing key may use; undefined for keys that are not allowed. */
export function signingHash({ key }: Pick<Certificate, 'key'>): 'sha256' | 'sha384' | 'sha512' | undefined {
  const details = key.asymmetricKeyDetails;
  if (key.asymmetricKeyType === 'rsa') return rsaHashes[details?.modulusLength ?? 0];
  return key.asymmetricKeyType === 'ec' ? curveHashes[details?.namedCurve ?? ''] : undefined;
}
