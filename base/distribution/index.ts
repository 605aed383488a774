export { createRegistryClient } from './client.ts';
export { canonicalHost, formatReference, parseReference } from './reference.ts';
export type { Reference } from './reference.ts';
export { digestOf, isDigest, splitDigest } from './digest.ts';
export type { DigestAlgorithm } from './digest.ts';
export { manifestByteLimit, mediaTypes, parseManifest } from './manifest.ts';
export type { ImageIndex, ImageManifest, Manifest } from './manifest.ts';
export { osFeaturesOf, parseDescriptor } from './descriptor.ts';
export { hubHosts, ruleFor } from './name-rules.ts';
export type { RuleMatch } from './name-rules.ts';
export { isServerDown } from './passing-failure.ts';
export { createServiceTokens } from './service-tokens.ts';
export type { ServiceQuestion, ServiceTokens } from './service-tokens.ts';
export { fallbackTag, referrerPages } from './referrers.ts';
export { orAbsent } from './shared-tag.ts';
export type { DistributionCode } from './failure.ts';
export type {
  Credentials,
  FetchedManifest,
  BlobContent,
  HostTls,
  Mirror,
  Referrers,
  RegistryClient,
  RegistryClientOptions,
  RegistryRepository,
  RegistryRule,
  SharedList,
} from './types.ts';
export { choosePlatform, normalPlatform, otherChoices } from './platform.ts';
export type { Descriptor, Platform } from './descriptor.ts';
