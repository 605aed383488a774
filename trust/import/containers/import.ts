import { createHash } from 'node:crypto';
import { resolve } from 'node:path';
import { readPlainFile } from '../../../base/files/index.ts';
import { append } from '../../../base/lists/index.ts';
import { canonicalJson } from '../../json/canonical-json.ts';
import type { ImportedPolicy, ImportedRule, Unmapped } from '../mapping/imported.ts';
import { readContainersPolicy } from './policy-json.ts';
import type { ContainersPolicy, ContainersRequirements } from './policy-json.ts';
import { lookasideOf, readRegistriesD, readsAttachments } from './registries-d.ts';
import type { RegistriesD } from './registries-d.ts';
import { mapRequirement } from './requirement.ts';
import type { ImportFiles, Mapped, SignaturePlaces } from './requirement.ts';
import { rootScope, scopeChain, scopePatterns, whyNever } from './scopes.ts';
import { readJsonSource, readYamlSource, refuseProblems } from './source.ts';
import type { Source } from './source.ts';

export interface ContainersImport {
  /** A policy.json: its text, and its name for messages. */
  readonly policyJson: { readonly file: string; readonly text: string };
  /**
   * The files of registries.d, in order of their names. If absent, GPG signatures are searched in the default
   * lookaside, and cosign's in the registry. If given, it is applied literally: without
   * `use-sigstore-attachments`, no cosign signature is read.
   */
  readonly registriesD?: readonly { readonly file: string; readonly text: string }[];
  /** The base of relative paths in the policy: the working directory of the process that reads it. */
  readonly directory: string;
}

/** The requirements for the images of one scope, also as one text for comparison. */
interface Cell {
  readonly scope: string;
  readonly requirements: ContainersRequirements;
  readonly places: SignaturePlaces;
  readonly equalBy: string;
  /** The scope of the enclosing cell; undefined for the root. */
  readonly around: string | undefined;
}

const referencedBytes = 4 * 1024 * 1024;

/**
 * Returns rules that decide as podman and CRI-O do with a policy.json and registries.d. Only the most
 * specific scope that contains an image decides, so each scope becomes a rule that excepts the scopes inside
 * it. Unreadable keys and certificates, and all parts without a counterpart, deny their scope and are listed.
 * @throws PortcullisError `TRUST_IMPORT_INVALID` with every problem and its position
 */
export async function importContainersPolicy(input: ContainersImport): Promise<ImportedPolicy> {
  const source = readJsonSource(input.policyJson.text, input.policyJson.file);
  const policy = readContainersPolicy(source);
  const yaml = (input.registriesD ?? []).map(({ file, text }) => readYamlSource(text, file));
  const registries = input.registriesD === undefined ? undefined : readRegistriesD(yaml);
  refuseProblems([source, ...yaml]);
  if (policy === undefined) return { rules: [], files: [], unmapped: [] };
  const kept = createFiles(input.directory);
  const unmapped = listOthers(policy, registries, source);
  const cells = distinctCells(policy, registries);
  const rules: ImportedRule[] = [];
  for (const cell of cells) append(rules, await ruleOf(cell, cells, kept, unmapped, source));
  return { rules, files: kept.files(), unmapped };
}

/** Returns the scopes whose requirements differ from those of the enclosing scope, the widest first. */
function distinctCells(policy: ContainersPolicy, registries: RegistriesD | undefined): readonly Cell[] {
  const scopes = new Set(
    [rootScope, ...policy.docker.keys(), ...(registries?.docker.keys() ?? [])].filter(
      (scope) => whyNever(scope) === undefined,
    ),
  );
  const ordered = [...scopes]
    .map((scope) => ({ scope, chain: scopeChain(scope) }))
    .sort((a, b) => a.chain.length - b.chain.length || (a.scope < b.scope ? -1 : 1));
  const cells = new Map<string, Cell>();
  for (const { scope, chain } of ordered) {
    const around = chain.slice(1).find((name) => cells.has(name));
    const cell = { ...cellOf(scope, chain, policy, registries), around };
    if (around === undefined || cells.get(around)?.equalBy !== cell.equalBy) cells.set(scope, cell);
  }
  return [...cells.values()];
}

function cellOf(
  scope: string,
  chain: readonly string[],
  policy: ContainersPolicy,
  registries: RegistriesD | undefined,
): Omit<Cell, 'around'> {
  const holder = chain.find((name) => policy.docker.has(name));
  const requirements = (holder === undefined ? undefined : policy.docker.get(holder)) ?? policy.default;
  const places = {
    lookaside: registries === undefined ? undefined : lookasideOf(registries, scope),
    attachments: registries === undefined ? undefined : readsAttachments(registries, scope),
  };
  // Settings that the requirements of a scope do not use make no difference.
  const uses = (type: string): boolean => requirements.list.some((requirement) => requirement.type === type);
  const used = {
    ...(uses('signedBy') ? { lookaside: places.lookaside } : {}),
    ...(uses('sigstoreSigned') ? { attachments: places.attachments } : {}),
  };
  return { scope, requirements, places, equalBy: canonicalJson([requirements.list, used]) };
}

async function ruleOf(
  cell: Cell,
  cells: readonly Cell[],
  files: ImportFiles,
  unmapped: Unmapped[],
  source: Source,
): Promise<readonly ImportedRule[]> {
  const mapped: Mapped[] = [];
  for (const [index, requirement] of cell.requirements.list.entries()) {
    const result = await mapRequirement(requirement, cell.places, files);
    mapped.push(result);
    if (result.kind === 'unmapped')
      unmapped.push(
        unmappedAt(
          source,
          [...cell.requirements.path, index],
          result.why,
          `the images of ${title(cell.scope)} are denied`,
        ),
      );
  }
  const except = cells
    .filter(({ around }) => around === cell.scope)
    .flatMap(({ scope }) => scopePatterns(scope));
  const images = { images: scopePatterns(cell.scope), ...(except.length === 0 ? {} : { except }) };
  const denial = denialOf(mapped);
  // An image that no rule matches is denied, so a default that denies needs no rule.
  if (denial !== undefined)
    return cell.scope === rootScope
      ? []
      : [{ comment: title(cell.scope), rule: { ...images, deny: denial } }];
  const demands = mapped.flatMap((result) => (result.kind === 'require' ? [result.value] : []));
  const [only] = demands;
  const demand =
    only === undefined
      ? { allow: 'unverified' }
      : { require: demands.length === 1 ? only : { all: demands } };
  return [{ comment: title(cell.scope), rule: { ...images, ...demand } }];
}

function denialOf(mapped: readonly Mapped[]): string | undefined {
  const unmapped = mapped.find((result) => result.kind === 'unmapped');
  if (unmapped !== undefined) return unmapped.why.replace(/\s+/g, ' ').slice(0, 500);
  return mapped.some(({ kind }) => kind === 'denied') ? 'policy.json rejects it' : undefined;
}

function title(scope: string): string {
  return scope === rootScope ? 'every other image (default)' : `the scope docker: ${scope}`;
}

/** Lists the scopes that name no image of a registry. */
function listOthers(
  policy: ContainersPolicy,
  registries: RegistriesD | undefined,
  source: Source,
): Unmapped[] {
  const others = policy.others.map(({ transport, path }) =>
    unmappedAt(
      source,
      path,
      `the transport ${transport} reaches no registry, and images come from registries only`,
      'it has no effect',
    ),
  );
  const never = [...policy.docker].flatMap(([scope, { path }]) => {
    const why = whyNever(scope);
    return why === undefined
      ? []
      : [
          unmappedAt(
            source,
            path,
            `no image is ever looked up under this scope: ${why}`,
            'other scopes decide',
          ),
        ];
  });
  const nowhere = [...(registries?.docker.keys() ?? [])].flatMap((scope) => {
    const why = scope === rootScope ? 'it is empty' : whyNever(scope);
    return why === undefined
      ? []
      : [
          {
            file: 'registries.d',
            line: 1,
            column: 1,
            path: `docker.${scope}`,
            why: `no image is ever looked up under it: ${why}`,
            became: 'it has no effect',
          },
        ];
  });
  return [...others, ...never, ...nowhere];
}

function unmappedAt(
  source: Source,
  path: ContainersRequirements['path'],
  why: string,
  became: string,
): Unmapped {
  const text = path.map((segment) => (typeof segment === 'number' ? `[${segment}]` : `.${segment}`)).join('');
  return { file: source.file, ...placeIn(source, path), path: text.replace(/^\./, ''), why, became };
}

function placeIn(
  source: Source,
  path: ContainersRequirements['path'],
): { readonly line: number; readonly column: number } {
  const { line, column } = source.placeOf(path);
  return { line, column };
}

function createFiles(directory: string): ImportFiles & { files(): ImportedPolicy['files'] } {
  const kept = new Map<string, Buffer>();
  return {
    read: (path) => readPlainFile(resolve(directory, path), referencedBytes),
    absolute: (path) => resolve(directory, path),
    keep(content, suffix) {
      const name = `imported-${createHash('sha256').update(content).digest('hex').slice(0, 12)}${suffix}`;
      kept.set(name, content);
      return name;
    },
    files: () => [...kept].map(([name, bytes]) => ({ name, bytes })),
  };
}
