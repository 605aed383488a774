export { appArmorWithin, hasAppArmorParser } from './apparmor/parser.ts';
export type { AppArmorContainment } from './apparmor/containment.ts';
export { appArmorProfile } from './apparmor/profile-text.ts';
export type { AppArmorProfile } from './apparmor/profile-text.ts';
export { askedFromSecurityContext } from './ceiling/asked.ts';
export type { Asked, SecurityContextRequest } from './ceiling/asked.ts';
export { bound, boundBy, boundPod, lackedDemands } from './ceiling/bound.ts';
export { publisherCeiling } from './ceiling/publisher.ts';
export type { Ceiling, PodRequest } from './ceiling/bound.ts';
export { demandText } from './ceiling/demand.ts';
export type { Demand } from './ceiling/demand.ts';
export { contains, witnesses } from './compare/contains.ts';
export type { Containment, Names, Witness } from './compare/contains.ts';
export { join, meet } from './compare/lattice.ts';
export { joinNetworkRules } from './compare/network-rules.ts';
export { landlockLauncher } from './landlock/launcher.ts';
export { launcherArguments } from '../base/elf/index.ts';
export type { LandlockRule } from './types.ts';
export { parsePathPattern } from './files/path-pattern.ts';
export type { PatternProblem } from './files/path-pattern.ts';
export { basePolicy } from './compile/base-set.ts';
export { compile } from './compile/compile.ts';
export type { Target } from './compile/target.ts';
export { describeSettings, settingsToJson } from './compile/describe.ts';
export { enforcedPolicy } from './compile/enforced-policy.ts';
export type { EnforcedPolicy } from './compile/enforced-policy.ts';
export { detectKernel } from './compile/kernel.ts';
export type { KernelFeatures } from './compile/kernel.ts';
export { settingsDigest } from './compile/digest.ts';
export type { EntitlementsCode } from './errors.ts';
export { compareProfiles, describeDifferences } from './explain/comparison.ts';
export type { Comparison, Finding } from './explain/comparison.ts';
export {
  describeExplained,
  describeProfile,
  entitlementsGiving,
  explainQuestion,
} from './explain/explain-question.ts';
export type { Explained } from './explain/explain-question.ts';
export type { Answer } from './explain/answer.ts';
export type { DecidingPart, Provenance } from './explain/provenance.ts';
export { questionGrammar } from './explain/question.ts';
export { describeJudgements, explainAttacks } from './cve/attack-feasibility.ts';
export type { Judgement } from './cve/attack-feasibility.ts';
export { exactProfile, writeExactProfile } from './document/exact.ts';
export { compareToSarif, problemsToSarif } from './explain/sarif.ts';
export type { SarifLog } from './explain/sarif.ts';
export type { SeccompTarget } from './import/conditional-seccomp.ts';
export type { Imported, Remark } from './import/imported.ts';
export { exportFormats, exportProfile } from './export/export.ts';
export type { Exported, ExportFormat } from './export/export.ts';
export { checkFiles } from './import/check-files.ts';
export type { CheckedFiles } from './import/check-files.ts';
export { starterProfile } from './document/starter.ts';
export { importFrom, importSources } from './import/read-source.ts';
export type { ImportOptions, ImportSource, NamedImport } from './import/read-source.ts';
export { readOperand } from './import/operand.ts';
export { unknownAnnotations } from './import/pod-annotations.ts';
export type { Operand, OperandOptions } from './import/operand.ts';
export { builtinNames, builtinProfile, defaultProfile, topProfile } from './profile/builtin.ts';
export type {
  FileRule,
  FileRules,
  HostNamespace,
  Limit,
  LimitName,
  MountRule,
  OwnNamespace,
  PathPattern,
  PathRestrictions,
  Profile,
  ResourceName,
} from './profile/model.ts';
export type { FileAccess, NetworkProtocol, NetworkRule } from './types.ts';
export { holdsDevice } from './profile/devices.ts';
export { checkedSet, loadProfiles, profileSet } from './document/load.ts';
export type { ProfileSet } from './document/load.ts';
export type { NamedProfile } from './document/resolve.ts';
export { checkProfiles } from './document/check.ts';
export type { Checked, SourceFile } from './document/check.ts';
export { formatProfile } from './document/format.ts';
export { LINT_CODES } from './lint/finding.ts';
export type { Finding as LintFinding, LintCode } from './lint/finding.ts';
export { lintProfiles } from './lint/lint.ts';
export { lintSeccomp, lintSeccompText } from './lint/seccomp.ts';
export { profileSchema } from './document/schema.ts';
export { attestFilters } from './proof/attest.ts';
export type { Attestation, Expected } from './proof/attest.ts';
export { createProver } from './proof/prover.ts';
export type { Prover } from './proof/prover.ts';
export { CATALOG } from './catalog/catalog.ts';
export type { Entitlement } from './catalog/entitlement.ts';
export { parseSeccompJson } from './seccomp/oci-shape.ts';
export type {
  Architecture,
  Capability,
  DeviceRule,
  NetworkClass,
  OciSeccomp,
  PeerRules,
  RuntimeBounds,
  Settings,
} from './types.ts';
