/** The pages, and the first words of the codes on each. */
export const errorGroups: readonly {
  readonly name: string;
  readonly title: string;
  readonly prefixes: readonly string[];
}[] = [
  {
    name: 'trust',
    title: 'Error codes of trust',
    prefixes: ['TRUST', 'POLICY_DELIVERY', 'POLICY_OBJECTS', 'POLICY_RELEASE', 'POLICY_ROOT'],
  },
  { name: 'entitlements', title: 'Error codes of entitlements', prefixes: ['ENTITLEMENTS'] },
  {
    name: 'network',
    title: 'Error codes of networks and services',
    prefixes: ['NETWORK', 'NODE_NETWORK', 'OVERLAY', 'CNI'],
  },
  {
    name: 'runtime',
    title: 'Error codes of pods, containers and images',
    prefixes: ['RUNTIME', 'IMAGES', 'CRI', 'NRI', 'SHIM', 'PROXY', 'ADMIN', 'CONFIG'],
  },
  { name: 'fleet', title: 'Error codes of the aggregator', prefixes: ['FLEET'] },
  { name: 'admission', title: 'Error codes of the admission webhook', prefixes: ['ADMISSION'] },
  {
    name: 'node',
    title: 'Error codes of node states, groups and images',
    prefixes: ['NODE_STATE', 'NODE_GROUP', 'NODE_NAME', 'NODE_IMAGE'],
  },
  { name: 'command', title: 'Error codes of the command', prefixes: ['CLI'] },
  {
    name: 'base',
    title: 'Error codes of storage, requests and the kernel',
    prefixes: [
      'STORAGE',
      'KERNEL',
      'PROCESS',
      'HTTP',
      'DISTRIBUTION',
      'KUBERNETES',
      'NATIVE',
      'PROTOBUF',
      'TTRPC',
    ],
  },
];
