export { loadPolicy, policyInvalid, policyOfKey, policyRevision, readPolicy } from './policy/load.ts';
export type { LoadedPolicy, OtherDocument, PolicySources } from './policy/load.ts';
export type { TufRoot } from './requirements/building.ts';
export { mayAdmit } from './policy/matching.ts';
export {
  exceptsItself,
  matchesAnyRegistry,
  ruleMatchesNamespace,
  ruleMatchesReference,
  shadowOf,
} from './policy/coverage.ts';
export { standingExceptions } from './policy/break-glass.ts';
export type { StandingException } from './policy/break-glass.ts';
export { describePolicy, explainPolicy } from './policy/explain-policy.ts';
export type { PolicyExplanation } from './policy/explain-policy.ts';
export { trustPolicySchema } from './policy/schema.ts';
export { formatPolicy } from './policy/format.ts';
export { policyTestSchema } from './policy/testing/policy-test-schema.ts';
export { testPolicy } from './policy/testing/policy-tests.ts';
export type { CaseResult, PolicyTestOptions, PolicyTestResult } from './policy/testing/policy-tests.ts';
export { simulatePolicy } from './policy/testing/simulate.ts';
export type { Change, Simulation } from './policy/testing/simulate.ts';
export { readRecording, saveRecording } from './policy/testing/recording.ts';
export type { Recording } from './policy/testing/recording.ts';
export { exportFormats, exportPolicy, importFormats, importPolicy } from './import/convert.ts';
export type { ExportedPolicy, ExportFormat, ImportFormat } from './import/convert.ts';
export { describeUnmapped, importedText, writeImported } from './import/write-imported.ts';
export type { ImportedPolicy, ImportedRule, Unmapped } from './import/mapping/imported.ts';
export { defaultImages, starterPolicy, starterPolicyFiles, writeStarterPolicy } from './policy/starter.ts';
export { createNegativeCache } from './evidence/negative-cache.ts';
export type { NegativeCache, KnownAbsent } from './evidence/negative-cache.ts';
export { gather } from './gathering/gather.ts';
export { signedStatements } from './gathering/signed-statements.ts';
export type { SignedStatementsInput } from './gathering/signed-statements.ts';
export type { GatherLimits } from './evidence/limits.ts';
export { lackingParts, withParts, withoutParts } from './evidence/evidence-parts.ts';
export { sealDossier } from './evidence/dossier.ts';
export { keepAnswers } from './evidence/fact-answers.ts';
export type { KeptAnswers } from './evidence/fact-answers.ts';
export { evidenceStanding, renewEvidence } from './gathering/renew.ts';
export type { EvidenceStanding, RenewInput } from './gathering/renew.ts';
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
export { chunkIndexPredicateType } from './attestation/predicate-types.ts';
export { readPredicate } from './attestation/predicate-file.ts';
export { canonicalJson } from './json/canonical-json.ts';
export { verifyArtifact } from './sigstore/verify-artifact.ts';
export type { Artifact, ArtifactFinding, VerifyArtifactInput } from './sigstore/verify-artifact.ts';
export { signArtifact } from './signing/sign-artifact.ts';
export type { SignArtifactInput } from './signing/sign-artifact.ts';
export { signingConfigOfInstance, trustedRootOfInstance } from './sigstore/instances.ts';
export { sigstoreSeeds } from './sigstore/seeds.ts';
export type { SigstoreSeed } from './sigstore/seeds.ts';
export { updateTrustedRoot } from './sigstore/update-root.ts';
export type { UpdateRootOptions, UpdatedRoot } from './sigstore/update-root.ts';
export { startTrustService } from './notary/trust-service.ts';
export type { TrustService, TrustServiceOptions } from './notary/trust-service.ts';
export { downloadTargets, initialiseTuf, refreshTuf } from './tuf-client/folder-client.ts';
export { bundleVerifications } from './keys/remembered.ts';
export { decide } from './verdict/decide.ts';
export { verdictCacheKey } from './verdict/cache-key.ts';
export { createDecider } from './verdict/decider.ts';
export type { Decider } from './verdict/decider.ts';
export { prepareDecision } from './verdict/prepare.ts';
export { decideUnseen, unseenDossier } from './verdict/decide-unseen.ts';
export { adviceOf } from './verdict/advice.ts';
export { explainReason, explainVerdict } from './verdict/explain-verdict.ts';
export { findVerdict, verdictLogStatements } from './verdict-log/append.ts';
export { verdictLogMigrations } from './verdict-log/schema.ts';
export { genesis, rowHash } from './verdict-log/chain.ts';
export type { LogRow } from './verdict-log/chain.ts';
export { parseCheckpoint } from './verdict-log/checkpoint.ts';
export { parseEntry } from './verdict-log/entry.ts';
export { openVerdictLog } from './verdict-log/keeper.ts';
export type { VerdictLog } from './verdict-log/keeper.ts';
export { openDatabaseLog } from './verdict-log/database-source.ts';
export { exportHead } from './verdict-log/export-head.ts';
export { exportLog, readExport } from './verdict-log/export-file.ts';
export { droppedThrough, findVerdictRow, findVerdicts } from './verdict-log/find.ts';
export type { LoggedVerdict, VerdictFilter } from './verdict-log/find.ts';
export { replayLogged } from './verdict-log/replay.ts';
export { noteSignedBy, parseNoteKey } from './verdict-log/signed-note.ts';
export type { NoteKey } from './verdict-log/signed-note.ts';
export type { LogSource } from './verdict-log/source.ts';
export { verifyLog } from './verdict-log/verify.ts';
export type { LogVerification } from './verdict-log/verify.ts';
export { parsePublicKey } from './keys/public-key.ts';
export { certificateValidity } from './x509/certificate.ts';
export { makeServerCertificate } from './x509/certificate-writer.ts';
export type { ServerCertificate } from './x509/certificate-writer.ts';
export { ensureKeyPair, generateKeyPair, generatedKeyTypes, loadSigningKey } from './keys/private-key.ts';
export type { GeneratedKeyType } from './keys/private-key.ts';
export type { SigningKey } from './keys/private-key.ts';
export { parseDuration } from './requirements/duration.ts';
export { processPassphrase } from './keys/passphrase.ts';
export type { PassphraseSource } from './keys/passphrase.ts';
export { credentialsOf } from './credentials/find-credentials.ts';
export { credentialsIn } from './credentials/credentials-in.ts';
export { openRegistries } from './registries/registry-access.ts';
export type { RegistryAccess, RegistryAccessOptions } from './registries/registry-access.ts';
export { hostPlatform } from './registries/resolve-image.ts';
export { previousAnswer } from './tuf-requirement/previous-answer.ts';
export { createTrustServices } from './tuf-requirement/trust-services.ts';
export type { SignedReference } from './evidence/signed-reference.ts';
export type { TrustServices } from './tuf-requirement/trust-services.ts';
export {
  archiveReference,
  copyReference,
  evidenceOfReference,
  extractPolicy,
  loadArchive,
  verifyArchive,
} from './transfer/carry.ts';
export { lackingAtMirror, mirrorLosses } from './transfer/mirror-losses.ts';
export type { FoundEvidence, MirrorLoss } from './transfer/mirror-losses.ts';
export { isComplete, lostInCopy } from './transfer/inventory.ts';
export type { EvidencePiece, ImageInventory, LostInCopy } from './transfer/inventory.ts';
export { exportReference, pushImageFile } from './transfer/carry-files.ts';
export type { CopyProgress } from './transfer/copy-image.ts';
export { useImageFile } from './transfer/image-file.ts';
export { openLayout } from './transfer/layout.ts';
export type { LayoutFiles } from './transfer/layout.ts';
export { openOwner } from './tuf-author/owner.ts';
export type { KeysNamed, Owner } from './tuf-author/owner.types.ts';
export type { DelegationScope, Dialect as TufDialect } from './tuf-metadata/model.ts';
export { loadWaivers } from './gate/waivers.ts';
export { waiversSchema } from './gate/waiver-schema.ts';
export type { Waiver } from './gate/waivers.ts';
export { signSummaries } from './gate/summaries.ts';
export type { SummariesInput } from './gate/summaries.ts';
export type { BuilderLevels } from './gate/provenance.ts';
export { admitImages } from './gate/admit.ts';
export type { AdmitInput, GateCache } from './gate/admit.ts';
export { createHostWatch } from './gate/host-watch.ts';
export type { HostWatch } from './gate/host-watch.ts';
export { largestSource, readImageSources } from './gate/image-sources.ts';
export { podSpecPath, readWorkload } from './gate/workload-images.ts';
export type { WorkloadImage } from './gate/workload-images.ts';
export type { UnreadPart } from './gate/unread-parts.ts';
export type { ImageSource } from './gate/image-sources.ts';
export { gateReport, gateText, reportFormats } from './gate/reports.ts';
export type { ReportFormat } from './gate/reports.ts';
export { standardInput } from './gate/report-sarif.ts';
export type { ReportContext } from './gate/report-sarif.ts';
export { isIncomplete } from './gate/report-texts.ts';
export type { GateDecision, GateImage, GateQuestion, GateResult, ImagePlace } from './gate/types.ts';
export { verifyImage } from './verify-image.ts';
export type { VerifyImageInput } from './verify-image.ts';
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
export { unpackRelease } from './policy-release/archive.ts';
export type { ReleaseFiles } from './policy-release/archive.ts';
export { collectRelease, filesOutside } from './policy-release/collect.ts';
export type { LoadedFiles } from './policy-release/collect.ts';
export { advanceRelease, listReleases, publishRelease, withdrawRelease } from './policy-release/publish.ts';
export type { NodeReport, PublishedRelease } from './policy-release/publish.ts';
export {
  channelPattern,
  isFor,
  mostStages,
  releaseFor,
  releasePath,
  stageName,
} from './policy-release/release.ts';
export type { HaltRule, PolicyRelease, ReleaseStage, StagedNode } from './policy-release/release.ts';
export { openReleases, sha256Of } from './policy-release/source.ts';
export type { ReleaseSource } from './policy-release/source.ts';
export { updateReleases } from './policy-release/update.ts';
export type { KnownReleases } from './policy-release/update.ts';
export { folderStore } from './tuf-client/folder-store.ts';
export type { TufStore } from './tuf-client/source.ts';
