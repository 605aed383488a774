import type { TrustPolicy, TrustRule } from '../../trust/index.ts';
import {
  exceptsItself,
  matchesAnyRegistry,
  ruleMatchesNamespace,
  standingExceptions,
} from '../../trust/policy/index.ts';
import type { StandingException } from '../../trust/policy/index.ts';
import { longestMs, requirementFindings } from './requirements.ts';
import { found } from './finding-codes.ts';
import type { Found } from './finding-codes.ts';

/** The images and namespaces that this node was asked for so far. */
export interface Seen {
  /** The number of references. */
  readonly count: number;
  /** Reports whether the rule matches one of them: pulled, refused, recorded or planted. */
  matches(rule: TrustRule): boolean;
  /** Returns the rule that makes this rule ineffective. */
  shadow(rule: TrustRule): TrustRule | undefined;
  readonly namespaces: ReadonlySet<string>;
}

/** Returns the findings that are visible in the policy itself. Pure. Linear in the number of rules. */
export function policyFindings(policy: TrustPolicy, seen: Seen, now: Date): readonly Found[] {
  return [
    ...policy.rules.flatMap((rule) => [...ruleFindings(rule, seen), ...requirementFindings(rule, now)]),
    ...standingExceptions(policy, now).map((exception) => exceptionFinding(exception, now)),
  ];
}

function ruleFindings(rule: TrustRule, seen: Seen): readonly Found[] {
  const on = `rule ${rule.name}`;
  const images = rule.images.join(', ');
  const any = rule.images.some(matchesAnyRegistry);
  const everywhere = rule.namespaces === undefined && rule.narrows === undefined;
  const shadow = seen.shadow(rule);
  const findings: Found[] = [];
  if (exceptsItself(rule))
    findings.push(
      found('RULE_EXCEPTS_ITSELF', on, `images ${images}; except ${(rule.except ?? []).join(', ')}`),
    );
  else if (!seen.matches(rule))
    findings.push(found('RULE_NEVER_MATCHED', on, `${images}: none of ${seen.count} references`));
  if (shadow !== undefined)
    findings.push(
      found('RULE_SHADOWED', on, `${images}: rule ${shadow.name} (${shadow.images.join(', ')}) decides`),
    );
  if (any && rule.allowUnverified) findings.push(found('RULE_ALLOWS_ANY', on, images));
  if (any && everywhere && rule.deny !== undefined && rule.except === undefined)
    findings.push(found('RULE_DENIES_ANY', on, images));
  if (any && rule.deny === undefined && rule.ceiling.ceiling === 'privileged')
    findings.push(found('CEILING_PRIVILEGED', on, images));
  if (
    !everywhere &&
    ![...seen.namespaces].some((namespace) => namespace !== '' && ruleMatchesNamespace(rule, namespace))
  )
    findings.push(
      found('NAMESPACE_NEVER_SEEN', on, [...(rule.narrows ?? []), ...(rule.namespaces ?? [])].join(', ')),
    );
  return findings;
}

function exceptionFinding(
  { kind, rule, images, until = '', reason = '', by = '', ended }: StandingException,
  now: Date,
): Found {
  const on = `rule ${rule}`;
  const what = images.join(', ');
  if (kind === 'report') return found('REPORT_MODE', on, what);
  if (kind === 'logs') return found('LOGS_ONLY', on, what);
  const why = `${what}: until ${until}, ${reason} (${by})`;
  if (ended) return found('BREAK_GLASS_ENDED', on, why);
  return found(
    Date.parse(until) - now.getTime() > longestMs ? 'BREAK_GLASS_WITHOUT_END' : 'BREAK_GLASS_OPEN',
    on,
    why,
  );
}
