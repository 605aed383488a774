import { checks } from './mutant.ts';

/** Vulnerabilities that were published for similar programs. */
export const mutants = checks([
  [
    'entitlements/seccomp/default-policy.ts',
    '[0n, 14n],',
    '[0n, 16n],',
    'entitlements/compile/kernel-entry-points.test.ts',
  ],
  [
    'entitlements/seccomp/default-policy.ts',
    '[17n, 32n],',
    '[17n, 33n],',
    'entitlements/compile/kernel-entry-points.test.ts',
  ],
  [
    'entitlements/seccomp/default-policy.ts',
    '[34n, 37n],',
    '[34n, 38n],',
    'entitlements/compile/kernel-entry-points.test.ts',
  ],
  [
    'entitlements/seccomp/default-policy.ts',
    '[0n, 5n],',
    '[0n, 6n],',
    'entitlements/compile/kernel-entry-points.test.ts',
  ],
  [
    'entitlements/seccomp/default-policy.ts',
    'const NAMESPACE_FLAGS = 0x7e020000n;',
    'const NAMESPACE_FLAGS = 0x0e020000n;',
    'entitlements/compile/kernel-entry-points.test.ts',
  ],
  [
    'entitlements/seccomp/default-policy.ts',
    "['clone3', always(ENOSYS)],",
    "['clone3', always('allow')],",
    'entitlements/compile/kernel-entry-points.test.ts',
  ],
  [
    'cni-plugins/constant-rules/host-port-rules.ts',
    "['prerouting', ...destinationIsLocal(register(0)), verdict",
    "['prerouting', verdict",
    'cni-plugins/engine/engine.test.ts',
  ],
  [
    'cni-plugins/constant-rules/host-port-rules.ts',
    "['prerouting', ...destinationIsLocal(register(0)), verdict",
    "['prerouting', verdict",
    'cni-plugins/engine/plugin-traffic.test.ts',
  ],
  ['trust/tuf-metadata/read-tuf.ts', '.threshold`, 1)', '.threshold`, 0)', 'trust/tuf/trusted-set.test.ts'],
  [
    'trust/sigstore/verify.ts',
    'const counted = distinctServices(logs);',
    'const counted = logs.length;',
    'trust/sigstore/hostile.test.ts',
  ],
  ['runtime/containers/bundle/user.ts', 'id > largestId', 'false', 'runtime/services/image-user.test.ts'],
  [
    'base/json/parse-json.ts',
    'if (hasEscapedKey) return',
    'if (hasEscapedKey && (false as boolean)) return',
    'base/json/parse-json.test.ts',
  ],
  [
    'base/json/parse-json.ts',
    '  if (isDeep) throw new SyntaxError(`nested deeper than ${maxJsonDepth} levels`);\n',
    '',
    'base/json/parse-json.test.ts',
  ],
  ['base/distribution/shared-tag.ts', '    stood = undefined;\n', '', 'base/distribution/shared-tag.test.ts'],
  ['base/connections/turns.ts', 'if (!busy) {', 'if ((true as boolean)) {', 'base/connections/turns.test.ts'],
  [
    'base/connections/connection-slots.ts',
    'open >= most || (peers',
    '(peers',
    'base/connections/connection-slots.test.ts',
  ],
  [
    'base/connections/connection-slots.ts',
    ' || (peers.get(name)?.open ?? 0) >= mostOfPeer',
    '',
    'base/connections/connection-slots.test.ts',
  ],
  [
    'base/connections/connection-slots.ts',
    'size >= held',
    'true',
    'base/connections/connection-slots.test.ts',
  ],
  [
    'runtime/containers/confinement/asked-paths.ts',
    "part !== '.' && part !== '..'",
    'true',
    'runtime/containers/confinement/asked-paths.test.ts',
  ],
  [
    'runtime/containers/confinement/asked-paths.ts',
    "root === '' && ",
    '',
    'runtime/containers/confinement/asked-paths.test.ts',
  ],
  [
    'runtime/pods/pod-networks.ts',
    'if (odd !== undefined)',
    'if ((false as boolean))',
    'runtime/pods/pod-networks.test.ts',
  ],
  [
    'cni-plugins/links/rules/ruleset.ts',
    'open.includes(linkClass) || heldLinks(record.spec).length === 0 ? hostPortElements(record) : []',
    'hostPortElements(record)',
    'cni-plugins/engine/engine.test.ts',
  ],
  [
    'cni-plugins/dns/decide.ts',
    '  if (ofOthers !== undefined) return { unlessElsewhere: ofOthers };\n',
    '  if (ofOthers !== undefined) return ofOthers;\n',
    'cni-plugins/dns/decide.test.ts',
  ],
  [
    'cni-plugins/dns/decide.ts',
    "if (name === 'localhost' || name.endsWith('.localhost')) return undefined;",
    '',
    'cni-plugins/dns/decide.test.ts',
  ],
]);
