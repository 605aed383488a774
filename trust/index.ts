/**
 * Trust as a library, `portcullis/trust`: for programs that verify, sign, attest and decide. What belongs to
 * one subject, such as the gate or the verdict log, is in the entry point of its folder.
 */
export { loadPolicy, policyOfKey, readPublicKeyFile } from './policy/load.ts';
export type { LoadedPolicy } from './policy/load.ts';
export type { TufRoot } from './requirements/building.ts';
export { describePolicy, explainPolicy } from './policy/explain-policy.ts';
export type { PolicyExplanation } from './policy/explain-policy.ts';
export { gather } from './gathering/gather.ts';
export type { GatherLimits } from './evidence/limits.ts';
export { signImage, signatureFormats } from './signing/sign-image.ts';
export { openSigner } from './signing/open-signer.ts';
export type { OpenSignerInput } from './signing/open-signer.ts';
export type { Signer, WitnessUrls } from './signers/signer.ts';
export type { SignatureScheme } from './signers/signature-scheme.ts';
export type { SignImageInput, SignatureFormat, SignedImage } from './signing/sign-image.ts';
export { attestImage, attestReference } from './signing/attest-image.ts';
export type {
  AttestationFormat,
  Attested,
  AttestImageInput,
  AttestReferenceInput,
} from './signing/attest-image.ts';
export { isEntitlementsType, maximumPredicateBytes, readPredicate } from './attestation/predicate-file.ts';
export { predicateShortNames } from './attestation/predicate-types.ts';
export { verifyArtifact } from './sigstore/verify-artifact.ts';
export type { Artifact, ArtifactFinding, VerifyArtifactInput } from './sigstore/verify-artifact.ts';
export { verifyFileSignature } from './sigstore/verify-file-signature.ts';
export type { FileSignature, VerifyFileSignatureInput } from './sigstore/verify-file-signature.ts';
export { signMessageBundle as signFile } from './signing/dsse-bundle.ts';
export { signArtifact } from './signing/sign-artifact.ts';
export type { SignArtifactInput } from './signing/sign-artifact.ts';
export { decide } from './verdict/decide.ts';
export { prepareDecision } from './verdict/prepare.ts';
export { adviceOf } from './verdict/advice.ts';
export { explainReason, explainVerdict } from './verdict/explain-verdict.ts';
export { parsePublicKey } from './keys/public-key.ts';
export { ensureKeyPair, generateKeyPair, generatedKeyTypes, loadSigningKey } from './keys/private-key.ts';
export type { GeneratedKeyType, SigningKey } from './keys/private-key.ts';
export { processPassphrase } from './keys/passphrase.ts';
export type { PassphraseSource } from './keys/passphrase.ts';
export { openRegistries } from './registries/registry-access.ts';
export type { RegistryAccess, RegistryAccessOptions } from './registries/registry-access.ts';
export { hostPlatform } from './registries/resolve-image.ts';
export { createTrustServices } from './tuf-requirement/trust-services.ts';
export type { TrustServices } from './tuf-requirement/trust-services.ts';
export { strictestOf } from './verdict/strictest.ts';
export type { JudgedManifest } from './verdict/strictest.ts';
export { verifyImage } from './verify-image.ts';
export type { VerifiedImage, VerifyImageInput } from './verify-image.ts';
export { verifyFiles } from './verify-files.ts';
export type { FileDigest, FileFinding, VerifyFilesInput } from './verify-files.ts';
export { signReference } from './signing/sign-reference.ts';
export type { SignReferenceInput } from './signing/sign-reference.ts';
export type { CeilingDemand, PolicyKey, Requirement, TrustPolicy, TrustRule } from './requirements/types.ts';
export type {
  DecideInput,
  Dossier,
  EvidenceItem,
  Platform,
  Reason,
  RequestedEntitlements,
  Verdict,
} from './findings/types.ts';
export type { GatherInput } from './evidence/gather-input.ts';
