import { canonicalJson } from '../../json/canonical-json.ts';
import { namesDigest } from '../../requirements/named-images.ts';
import type { TrustPolicy, TrustRule } from '../../requirements/types.ts';
import type { Unmapped } from '../mapping/imported.ts';
import { exportRequirement } from './export-requirement.ts';
import type { ExportedRequirement } from './export-requirement.ts';
import { mayOverlap, otherScopes, scopeOfPattern } from './export-scopes.ts';
import { rootScope, scopeChain } from './scopes.ts';

export interface ContainersExport {
  /** The content for /etc/containers/policy.json. */
  readonly policyJson: string;
  /** The content of a file for /etc/containers/registries.d. */
  readonly registriesD: string;
  /**
   * The parts that could not be converted. Each says what applies instead, usually that its images are
   * rejected.
   */
  readonly unmapped: readonly Unmapped[];
}

/** A rule with its images as scopes. */
interface ScopedRule {
  readonly rule: TrustRule;
  readonly scopes: ReadonlySet<string>;
  readonly except: ReadonlySet<string>;
  /** The same scopes by other names of their registries, where the rule only narrows what others admit. */
  readonly others: ReadonlySet<string>;
  /** An image that the rule excepts under one of its names is excepted there. */
  readonly exceptOthers: ReadonlySet<string>;
  /** Patterns that no scope contains. */
  readonly elsewhere: readonly string[];
  readonly demand: ExportedRequirement | undefined;
}

interface Cell {
  readonly requirements: readonly Readonly<Record<string, unknown>>[];
  readonly lookaside?: string;
  readonly attachments: boolean;
}

const reject: Cell = { requirements: [{ type: 'reject' }], attachments: false };

/**
 * Converts a policy to policy.json and registries.d. There, the most specific scope alone decides: each scope
 * therefore gets the requirements of all rules that match it. A part that cannot be converted rejects the
 * images that it applies to, and is listed. Ceilings of entitlements do not concern signatures, and are left
 * out.
 */
export function exportContainersPolicy(policy: TrustPolicy): ContainersExport {
  const unmapped: Unmapped[] = [];
  const rules = policy.rules.map((rule) => scopeRule(rule, unmapped));
  const scopes = new Set([
    rootScope,
    ...rules.flatMap(({ scopes: own, except, others, exceptOthers }) => [
      ...own,
      ...except,
      ...others,
      ...exceptOthers,
    ]),
  ]);
  const ordered = [...scopes]
    .map((scope) => ({ scope, chain: scopeChain(scope) }))
    .sort((a, b) => a.chain.length - b.chain.length || (a.scope < b.scope ? -1 : 1));
  const cells = new Map<string, Cell>();
  for (const { scope, chain } of ordered) {
    const cell = cellOf(scope, chain, rules, unmapped);
    const around = chain.slice(1).find((name) => cells.has(name));
    if (around === undefined || canonicalJson(cells.get(around)) !== canonicalJson(cell))
      cells.set(scope, cell);
  }
  const docker = Object.fromEntries([...cells].map(([scope, { requirements }]) => [scope, requirements]));
  const policyJson = `${JSON.stringify({ default: reject.requirements, transports: { docker } }, null, 2)}\n`;
  return { policyJson, registriesD: registriesText(cells), unmapped: distinct(unmapped) };
}

function scopeRule(rule: TrustRule, unmapped: Unmapped[]): ScopedRule {
  const scopes = new Set<string>();
  const elsewhere: string[] = [];
  const admits = rule.allowUnverified;
  for (const written of rule.images) {
    const pinned = rule.deny !== undefined && namesDigest(written);
    const pattern = pinned ? written.replace(/@.*$/, '') : written;
    if (pinned) {
      const became = 'the rule also applies to the other images of the repository';
      unmapped.push(report(rule, `no scope contains the tags that lead to ${written}`, became));
    }
    const found = scopeOfPattern(pattern, rule.images);
    if (found === undefined) {
      elsewhere.push(pattern);
      const became = admits ? 'the rule admits none of them' : 'images that may be among them are rejected';
      unmapped.push(report(rule, `no scope contains exactly the images ${pattern}`, became));
      continue;
    }
    if (found.wider !== undefined) {
      const became = admits ? 'the rule admits none of them' : 'the rule also applies to it';
      unmapped.push(
        report(
          rule,
          `the scope ${found.scope} also contains the repository ${found.wider}, which ${pattern} does not match`,
          became,
        ),
      );
    }
    if (found.wider === undefined || !admits) scopes.add(found.scope);
  }
  const except = new Set<string>();
  for (const pattern of rule.except ?? []) {
    const found = scopeOfPattern(pattern, rule.except ?? []);
    if (found !== undefined && (found.wider === undefined || admits)) except.add(found.scope);
    else {
      if (admits) scopes.clear();
      unmapped.push(
        report(
          rule,
          `no scope contains exactly the exception ${pattern}`,
          admits ? 'the rule is not exported' : 'the rule applies to it, too',
        ),
      );
    }
  }
  const demand = demandOf(rule);
  if (demand !== undefined && 'why' in demand)
    unmapped.push(
      report(
        rule,
        `the containers image library decides differently: ${demand.why}`,
        'its images are rejected',
      ),
    );
  if (rule.mode !== undefined)
    unmapped.push(report(rule, 'it does not support rules that only report', 'the rule is enforced'));
  if (rule.breakGlass !== undefined)
    unmapped.push(report(rule, 'it does not support break-glass', 'the rule is enforced'));
  const narrows = demand !== undefined;
  const others = new Set(narrows ? [...scopes].flatMap(otherScopes) : []);
  const exceptOthers = new Set(narrows ? [...except, ...[...except].flatMap(otherScopes)] : []);
  return { rule, scopes, except, others, exceptOthers, elsewhere, demand };
}

/** Returns the requirement of a rule. undefined: an `allow: unverified` rule. */
function demandOf(rule: TrustRule): ExportedRequirement | undefined {
  if (rule.deny !== undefined) return { list: reject.requirements, lookasides: [], attachments: false };
  if (rule.namespaces !== undefined || rule.narrows !== undefined)
    return { why: 'it does not support namespaces' };
  if (rule.ceiling.require === 'signed') return { why: 'it does not support signed entitlements' };
  if (rule.allowUnverified) return undefined;
  return rule.require === undefined ? { why: 'the rule requires nothing' } : exportRequirement(rule.require);
}

function cellOf(
  scope: string,
  chain: readonly string[],
  rules: readonly ScopedRule[],
  unmapped: Unmapped[],
): Cell {
  const isIn = (some: ReadonlySet<string>): boolean => chain.some((name) => some.has(name));
  const matching = rules.filter(({ scopes, except }) => isIn(scopes) && !isIn(except));
  // By another name, a rule admits nothing.
  const narrowing =
    matching.length === 0
      ? []
      : rules.filter(({ others, exceptOthers }) => isIn(others) && !isIn(exceptOthers));
  const demands = [...new Set([...matching, ...narrowing])].filter(({ demand }) => demand !== undefined);
  const uncertain = rules.some(
    ({ demand, elsewhere }) =>
      demand !== undefined && elsewhere.some((pattern) => mayOverlap(pattern, scope)),
  );
  if (uncertain) return reject;
  if (demands.length === 0)
    return matching.length === 0
      ? reject
      : { requirements: [{ type: 'insecureAcceptAnything' }], attachments: false };
  const said = demands.flatMap(({ demand }) => (demand !== undefined && 'list' in demand ? [demand] : []));
  if (said.length < demands.length) return reject;
  const lookasides = new Set(said.flatMap((demand) => demand.lookasides));
  if (lookasides.size > 1) {
    for (const { rule } of demands)
      unmapped.push(
        report(
          rule,
          `it supports only one lookaside for the images of ${scope}, but the rules name ${lookasides.size}`,
          'its images are rejected',
        ),
      );
    return reject;
  }
  const requirements = [
    ...new Map(
      said.flatMap(({ list }) => list).map((requirement) => [canonicalJson(requirement), requirement]),
    ).values(),
  ];
  const [lookaside] = lookasides;
  return {
    requirements,
    ...(lookaside === undefined ? {} : { lookaside }),
    attachments: said.some(({ attachments }) => attachments),
  };
}

/** JSON is valid YAML and represents every text unambiguously. */
function registriesText(cells: ReadonlyMap<string, Cell>): string {
  const places = (cell: Cell) => ({
    ...(cell.lookaside === undefined ? {} : { lookaside: cell.lookaside }),
    'use-sigstore-attachments': cell.attachments,
  });
  const root = cells.get(rootScope) ?? reject;
  const docker = Object.fromEntries(
    [...cells].filter(([scope]) => scope !== rootScope).map(([scope, cell]) => [scope, places(cell)]),
  );
  return `${JSON.stringify({ 'default-docker': places(root), docker }, null, 2)}\n`;
}

function report(rule: TrustRule, why: string, became: string): Unmapped {
  const [, file = rule.name, line = '1'] = /^(.*):(\d+)$/.exec(rule.name) ?? [];
  return { file, line: Number(line), column: 1, path: '', why, became };
}

function distinct(unmapped: readonly Unmapped[]): readonly Unmapped[] {
  return [...new Map(unmapped.map((one) => [canonicalJson(one), one])).values()];
}
