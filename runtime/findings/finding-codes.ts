/**
 * The effect of a finding on enforcement. `fail`: an image or container that the policy should refuse is not
 * refused, or no image is admitted any more. `unknown`: the node cannot determine whether it is refused.
 * `note`: enforcement is not weaker, but an operator should look at it.
 */
export type Effect = 'fail' | 'unknown' | 'note';

interface Way {
  readonly effect: Effect;
  /** One sentence for the list of codes in docs/enforcement.md. */
  readonly text: string;
  readonly fix: string;
}

/** Every way to make the policy ineffective that the check looks for, by its stable code. */
export const ways = {
  PLANTED_UNSIGNED_ADMITTED: {
    effect: 'fail',
    text: 'The planted image that is not signed was admitted.',
    fix: 'find the rule that admits it: portcullis policy explain IMAGE --policy PATH',
  },
  PLANTED_SIGNED_REFUSED: {
    effect: 'fail',
    text: 'The planted image that is signed as the policy requires was refused.',
    fix: 'sign it again, or correct the rule; the reasons name the failed check',
  },
  PLANTED_SIGNED_UNVERIFIED: {
    effect: 'fail',
    text: 'The planted signed image was admitted without any proof of its signature.',
    fix: 'remove the exception or the `allow: unverified` that admits it',
  },
  VERIFIER_REFUSES_ALL: {
    effect: 'fail',
    text: 'Both planted images were refused. A verifier that refuses every image seems to work.',
    fix: 'correct keys, roots and the clock of this node; the reasons name the failed check',
  },
  MIRROR_LACKS_EVIDENCE: {
    effect: 'fail',
    text: 'A mirror serves the planted signed image without its signature, and the registry is not contacted.',
    fix: 'copy images with their referrers (portcullis images copy, oras copy -r), or allow the origin of this mirror',
  },
  PLANTED_NO_RULE: {
    effect: 'unknown',
    text: 'No signature of a planted image was checked: no rule that requires a signature matches the image, or a rule denies it without a check.',
    fix: 'write the pattern as references are normalised (busybox is docker.io/library/busybox), or plant images that a rule names',
  },
  PLANTED_NOT_DECIDED: {
    effect: 'unknown',
    text: 'No decision about a planted image was possible: its registry or a source of evidence was unreachable.',
    fix: 'make sure that this node can reach the registry; the test is repeated automatically',
  },
  PLANTED_SAME_IMAGE: {
    effect: 'unknown',
    text: 'Both planted names refer to the same image.',
    fix: 'push another image that is not signed, and name it in enforcement.refused',
  },
  NO_PLANTED_PAIR: {
    effect: 'unknown',
    text: 'No planted pair is configured: refusals are not tested.',
    fix: 'push a signed and an unsigned image, and name them in enforcement.admitted and enforcement.refused',
  },
  NOT_TRIED: {
    effect: 'unknown',
    text: 'The planted pair was not tested yet, or not for more than two intervals.',
    fix: 'wait for the first test; if the finding stays, check the log of the daemon',
  },
  NO_POLICY: {
    effect: 'fail',
    text: 'No policy is in force: all new images and containers are denied.',
    fix: 'portcullis policy check PATH names every problem',
  },
  POLICY_NOT_RELOADED: {
    effect: 'fail',
    text: 'The latest policy could not be loaded: an old revision stays in force.',
    fix: 'portcullis policy check PATH names every problem; it is loaded once it is valid',
  },
  POLICY_FOLDER_EMPTY: {
    effect: 'fail',
    text: 'A folder of policies contains no policy file: an empty folder may be mounted over it.',
    fix: 'check the mount and the files in it',
  },
  POLICY_PATH_GONE: {
    effect: 'fail',
    text: 'A file or folder of policies does not exist or cannot be read.',
    fix: 'restore it, or correct `policy` in the configuration',
  },
  RULE_NEVER_MATCHED: {
    effect: 'unknown',
    text: 'A rule has not matched any image that was requested on this node.',
    fix: 'check the pattern (registry, path, tag or digest); if the rule is for other nodes, add the code to enforcement.accept',
  },
  RULE_EXCEPTS_ITSELF: {
    effect: 'fail',
    text: 'The exceptions of a rule include every image that it names.',
    fix: 'correct `except`',
  },
  RULE_SHADOWED: {
    effect: 'unknown',
    text: 'A rule has no effect, because another rule always decides.',
    fix: 'remove one of the two rules, or change the patterns so that they do not overlap',
  },
  RULE_ALLOWS_ANY: {
    effect: 'fail',
    text: 'A rule admits images of every registry without proof.',
    fix: 'name the registries and repositories, or require a signature',
  },
  RULE_DENIES_ANY: {
    effect: 'fail',
    text: 'A rule denies the images of every registry.',
    fix: 'name the images to deny',
  },
  NAMESPACE_NEVER_SEEN: {
    effect: 'unknown',
    text: 'A rule is for namespaces that were never used on this node.',
    fix: 'check the spelling; if the rule is for other nodes, add the code to enforcement.accept',
  },
  REPORT_MODE: {
    effect: 'fail',
    text: 'A rule only reports what it would refuse.',
    fix: 'remove `mode: report`',
  },
  BREAK_GLASS_OPEN: {
    effect: 'fail',
    text: '`breakGlass` admits images that a rule would refuse.',
    fix: 'remove `breakGlass` as soon as it is not needed',
  },
  BREAK_GLASS_WITHOUT_END: {
    effect: 'fail',
    text: 'A `breakGlass` lasts longer than 30 days, or forever.',
    fix: 'set an end in the near future',
  },
  BREAK_GLASS_ENDED: {
    effect: 'note',
    text: 'A `breakGlass` has ended and is still in the policy.',
    fix: 'remove `breakGlass`',
  },
  LOGS_ONLY: {
    effect: 'fail',
    text: 'A rule only logs the signer: every signer is accepted.',
    fix: 'write `level: strict` or `permissive`',
  },
  IDENTITY_ANYONE: {
    effect: 'fail',
    text: 'A rule accepts the signature of any user who has an account at the issuer.',
    fix: 'name the repository and the workflow, or the address, of the signer',
  },
  ALTERNATIVE_ANYONE: {
    effect: 'fail',
    text: 'One alternative of a rule accepts the signature of every signer.',
    fix: 'remove that alternative from `any` or `threshold`',
  },
  NO_PROVEN_TIME: {
    effect: 'fail',
    text: 'A rule accepts keyless signatures without a proof of the signing time.',
    fix: 'require an entry in a transparency log or a time stamp',
  },
  CERTIFICATE_ENDED: {
    effect: 'fail',
    text: 'All certificates that a requirement depends on have expired or are not valid yet.',
    fix: 'renew the certificates of the policy, or correct the clock',
  },
  ROOT_ENDED: {
    effect: 'fail',
    text: 'A root that a rule depends on has expired, so no signature can be verified with it.',
    fix: 'portcullis sigstore-root update',
  },
  ROOT_ENDS_SOON: {
    effect: 'note',
    text: 'A root that a rule depends on expires within three days.',
    fix: 'make sure that this node can reach its repository, or run: portcullis sigstore-root update',
  },
  STALE_WINDOW_LONG: {
    effect: 'fail',
    text: 'Without updates from its trust service, a rule continues to admit images for more than 30 days.',
    fix: 'shorten `onStale.previouslyAdmitted.for`',
  },
  TRUST_ON_FIRST_USE: {
    effect: 'unknown',
    text: 'A rule trusts the first response of a trust service without verification.',
    fix: 'name the root of the service in `tuf.root`',
  },
  CEILING_PRIVILEGED: {
    effect: 'fail',
    text: 'A rule for every registry allows privileged containers.',
    fix: 'set `ceiling: privileged` only for images that need it',
  },
  OUT_OF_POLICY_RUNS: {
    effect: 'fail',
    text: 'The policy in force denies containers that are running.',
    fix: 'replace them, or set verdicts.outOfPolicy: stop',
  },
  IMAGES_OUT_OF_POLICY: {
    effect: 'note',
    text: 'This node has images from an earlier policy that the policy in force would not admit. No new container can use them.',
    fix: 'remove them: portcullis images rm',
  },
  PLAIN_HTTP: {
    effect: 'note',
    text: 'A registry that a rule names is contacted over plain HTTP: an attacker cannot forge signatures, but can withhold them.',
    fix: 'configure a certificate for the registry or mirror',
  },
  CLOCK_BEHIND: {
    effect: 'fail',
    text: 'The clock is behind times that this node has recorded: expired evidence counts as valid.',
    fix: 'set the clock, and run a time service',
  },
  CLOCK_JUMPED: {
    effect: 'unknown',
    text: 'The clock was moved by more than five minutes.',
    fix: 'run a time service that slews',
  },
  CLOCK_DISAGREES: {
    effect: 'fail',
    text: 'The clock of this program differs from the hardware clock by more than 15 hours, or from the clock of the kernel by more than five minutes.',
    fix: 'set the clock, and run a time service',
  },
  VERDICT_LOG_UNWRITABLE: {
    effect: 'fail',
    text: 'The state folder cannot be written: verdicts are not recorded.',
    fix: 'make `root` writable, with free space',
  },
  AUDIT_LOG_UNWRITABLE: {
    effect: 'unknown',
    text: 'The audit log cannot be written.',
    fix: 'make `audit.path` writable',
  },
  KUBELET_ELSEWHERE: {
    effect: 'fail',
    text: 'The kubelet of this node runs its pods with another runtime.',
    fix: 'set containerRuntimeEndpoint in the kubelet’s configuration to the socket of this daemon',
  },
} as const satisfies Readonly<Record<string, Way>>;

export type WayCode = keyof typeof ways;

/** A finding: one way that applies on this node. */
export interface Found {
  readonly code: WayCode;
  readonly effect: Effect;
  /** A rule (`FILE:LINE`), a path, a registry or an image. */
  readonly on: string;
  readonly text: string;
  readonly fix: string;
  /** The operator has accepted the code: the finding is listed and does not count. */
  readonly accepted?: boolean;
}

/**
 * Returns a finding.
 * @param detail the details, in one or more lines; begins with a lower-case letter
 */
export function found(code: WayCode, on: string, detail?: string): Found {
  const { effect, text, fix } = ways[code];
  return { code, effect, on, text: detail === undefined ? text : `${text} ${detail}`, fix };
}
