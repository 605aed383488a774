import { createHash } from 'node:crypto';
import { writeYaml } from '../../base/schema/index.ts';
import { appArmorProfile } from '../apparmor/profile-text.ts';
import { contains, witnesses } from '../compare/contains.ts';
import { excessOf } from '../explain/differences.ts';
import { importAppArmorAbstract } from '../import/apparmor-abstract.ts';
import { ARTIFACT_TYPES, MAX_LAYER } from '../import/artifact.ts';
import type { SeccompTarget } from '../import/conditional-seccomp.ts';
import type { Remark } from '../import/imported.ts';
import { importSeccomp } from '../import/seccomp.ts';
import { importPod } from '../import/security-context.ts';
import { entitlementsError } from '../errors.ts';
import { builtinProfile } from '../profile/builtin.ts';
import type { Profile } from '../profile/model.ts';
import { policyText } from '../seccomp/policy.ts';
import { parseSeccompJson } from '../seccomp/oci-shape.ts';
import { appArmorAbstract } from './apparmor-abstract.ts';
import { podOf } from './security-context.ts';
import { exportSeccomp, looserCalls, seccompText } from './seccomp.ts';

export const exportFormats = [
  'seccomp',
  'security-context',
  'pod-security',
  'spo-seccomp',
  'spo-apparmor',
  'oci-artifact',
  'apparmor',
] as const;
export type ExportFormat = (typeof exportFormats)[number];

/** A profile in the format of another tool. */
export interface Exported {
  /** The first file is the one that refers to the others. */
  readonly files: readonly { readonly name: string; readonly text: string }[];
  /** Restrictions of the profile that the other format cannot express. */
  readonly unmapped: readonly Remark[];
  /** Further restrictions of the other format, and restrictions that it expresses with another file. */
  readonly notes: readonly Remark[];
}

/**
 * Exports a profile in the format of another tool. The result is read again and compared with the profile.
 * Therefore the list of missing parts is exact in the dimensions that the format can express. The other
 * dimensions are named.
 * @param name the profile's name, for names of files and objects
 * @throws ENTITLEMENTS_UNSUPPORTED, ENTITLEMENTS_TOO_COMPLEX
 */
export function exportProfile(
  format: ExportFormat,
  name: string,
  profile: Profile,
  target: SeccompTarget,
): Exported {
  switch (format) {
    case 'seccomp':
      return {
        files: [{ name: `${name}.json`, text: provedSeccomp(profile, target) }],
        unmapped: looserCalls(profile, target.architecture),
        notes: [callsOnly],
      };
    case 'spo-seccomp': {
      const spec = parseSeccompJson(provedSeccomp(profile, target)) as object;
      const text = writeYaml(resource('SeccompProfile', name, spec));
      const unmapped = looserCalls(profile, target.architecture);
      return { files: [{ name: `${name}.yaml`, text }], unmapped, notes: [callsOnly] };
    }
    case 'spo-apparmor':
      return viaAppArmor(name, profile, (rules) => ({
        name: `${name}.yaml`,
        text: writeYaml(resource('AppArmorProfile', name, { abstract: rules })),
      }));
    case 'oci-artifact':
      return {
        files: layout(provedSeccomp(profile, target)),
        unmapped: looserCalls(profile, target.architecture),
        notes: [callsOnly],
      };
    case 'security-context':
      return securityContext(name, profile, target);
    case 'pod-security':
      return podSecurity(profile);
    case 'apparmor': {
      const found = appArmorProfile(profile);
      if (found === undefined)
        throw unsaid('AppArmor', 'the profile has no AppArmor rules: it is unconfined');
      return {
        files: [{ name: found.name, text: found.text }],
        unmapped: [],
        notes: [{ part: 'apparmor', why: 'AppArmor does not enforce system calls, devices and limits' }],
      };
    }
  }
}

const callsOnly: Remark = {
  part: 'syscalls',
  why: 'a seccomp profile contains only system calls: capabilities, files, network and the rest must be configured separately',
};

/** Returns the JSON, which was read again and is the same policy. */
function provedSeccomp(profile: Profile, target: SeccompTarget): string {
  const text = seccompText(exportSeccomp(profile, target.architecture));
  const again = importSeccomp(parseSeccompJson(text), target).profile.syscalls;
  const [a, b] = [profile, { ...profile, syscalls: again }];
  const same =
    policyText(profile.syscalls) === policyText(again) || (contains(a, b).yes && contains(b, a).yes);
  const [first] = same ? [] : [...witnesses(a, b), ...witnesses(b, a)];
  if (first !== undefined && profile.syscalls.filtered) {
    const other = excessOf(a, b, { outer: 'the profile', inner: 'the JSON' });
    if (other.length > 0) throw unsaid('seccomp', other[0]?.sentence ?? first.sentence);
  }
  return text;
}

function resource(kind: string, name: string, spec: object): object {
  return { apiVersion: 'security-profiles-operator.x-k8s.io/v1', kind, metadata: { name }, spec };
}

function viaAppArmor(
  name: string,
  profile: Profile,
  file: (rules: object) => { name: string; text: string },
): Exported {
  const { rules, unmapped } = appArmorAbstract(profile);
  const again = importAppArmorAbstract(rules, '').profile;
  const dimensions = ['capabilities', 'files', 'network', 'egress', 'ingress'];
  const looser = witnesses(profile, again, { outer: 'the profile', inner: 'what is exported' }).filter(
    ({ dimension }) => dimensions.includes(dimension),
  );
  const tighter = witnesses(again, profile, { outer: 'what is exported', inner: 'the profile' }).filter(
    ({ dimension }) => dimensions.includes(dimension),
  );
  return {
    files: [file(rules)],
    unmapped: [...unmapped, ...looser.map(({ dimension, sentence }) => ({ part: dimension, why: sentence }))],
    notes: [
      ...tighter.map(({ dimension, sentence }) => ({ part: dimension, why: sentence })),
      {
        part: name,
        why: 'AppArmor enforces only files, capabilities and networks: system calls, devices and limits must be configured separately',
      },
    ],
  };
}

/** Returns an OCI image layout with one artifact, as specified by KEP-6061. */
function layout(text: string): Exported['files'] {
  if (Buffer.byteLength(text) > MAX_LAYER)
    throw unsaid('KEP-6061', `the profile is larger than ${MAX_LAYER} bytes`);
  const empty = '{}';
  const describe = (mediaType: string, content: string): object => ({
    mediaType,
    digest: `sha256:${sha256(content)}`,
    size: Buffer.byteLength(content),
  });
  const type = ARTIFACT_TYPES.seccomp;
  const manifest = JSON.stringify({
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    artifactType: type,
    config: describe(type, empty),
    layers: [describe(type, text)],
  });
  const index = JSON.stringify({
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.index.v1+json',
    manifests: [{ ...describe('application/vnd.oci.image.manifest.v1+json', manifest), artifactType: type }],
  });
  return [
    { name: 'index.json', text: index },
    { name: 'oci-layout', text: '{"imageLayoutVersion":"1.0.0"}' },
    ...[...new Set([manifest, empty, text])].map((content) => ({
      name: `blobs/sha256/${sha256(content)}`,
      text: content,
    })),
  ];
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

function securityContext(name: string, profile: Profile, target: SeccompTarget): Exported {
  const { pod, localhost } = podOf(name, profile);
  const filter = localhost === undefined ? undefined : provedSeccomp(profile, target);
  const json = filter === undefined ? undefined : parseSeccompJson(filter);
  const again = importPod(pod, { profile: () => undefined, seccomp: () => json })[0]?.profile;
  const looser =
    again === undefined
      ? []
      : witnesses(profile, again, { outer: 'the profile', inner: 'the security context' });
  const tighter =
    again === undefined
      ? []
      : witnesses(again, profile, { outer: 'the security context', inner: 'the profile' });
  const remark = ({ dimension, sentence }: (typeof looser)[number]): Remark => ({
    part: dimension,
    why: sentence,
  });
  return {
    files: [
      { name: `${name}.yaml`, text: writeYaml(pod) },
      ...(filter === undefined ? [] : [{ name: localhost ?? '', text: filter }]),
    ],
    unmapped: [
      ...looser.map(remark),
      ...(localhost === undefined ? [] : looserCalls(profile, target.architecture)),
    ],
    notes: [
      ...tighter.map(remark),
      ...(localhost === undefined
        ? []
        : [
            {
              part: 'seccompProfile',
              why: `${localhost} belongs in the kubelet's seccomp folder, /var/lib/kubelet/seccomp`,
            },
          ]),
    ],
  };
}

const LEVELS = ['restricted', 'baseline', 'privileged'] as const;

/** Returns the strictest level of the Pod Security Standards that contains the profile. */
function podSecurity(profile: Profile): Exported {
  // Restrictions that a profile leaves to the pod do not count against a level: a pod of that level may still
  // request them.
  const level = LEVELS.find((one) => {
    const ceiling = builtinProfile(one);
    return ceiling !== undefined && contains(ceiling, profile).yes;
  });
  const chosen = level ?? 'privileged';
  const ceiling = builtinProfile(chosen) ?? profile;
  const labels = Object.fromEntries(
    ['enforce', 'audit', 'warn'].map((mode) => [`pod-security.kubernetes.io/${mode}`, chosen]),
  );
  const beyond = LEVELS.slice(0, LEVELS.indexOf(chosen)).flatMap((one) => {
    const found = contains(builtinProfile(one) ?? profile, profile, { outer: one, inner: 'the profile' });
    return found.yes ? [] : [{ part: one, why: found.witness.sentence }];
  });
  return {
    files: [{ name: 'labels.yaml', text: writeYaml({ metadata: { labels } }) }],
    unmapped: witnesses(profile, ceiling, { outer: 'the profile', inner: chosen }).map(
      ({ dimension, sentence }) => ({
        part: dimension,
        why: sentence,
      }),
    ),
    notes: beyond,
  };
}

function unsaid(format: string, why: string): Error {
  return entitlementsError('ENTITLEMENTS_UNSUPPORTED', {
    kind: 'unimplemented',
    attempted: `export profile to ${format}`,
    on: '',
    why,
    fix: 'choose another format, or change the profile',
  });
}
