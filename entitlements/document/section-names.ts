/** The sections of a profile, the most important first. */
export const sectionNames = [
  'entitlements',
  'files',
  'network',
  'syscalls',
  'capabilities',
  'devices',
  'mounts',
  'paths',
  'namespaces',
  'resources',
] as const;
