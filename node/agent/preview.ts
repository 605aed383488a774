import { isPortcullisError, reasonOf } from '../../base/errors/index.ts';
import { append } from '../../base/lists/index.ts';
import { planChanges } from '../model/plan.ts';
import type { Change, Controller, NodeState, Owned, Section } from '../model/types.ts';
import type { OwnedItems } from '../store/node-files.ts';

/** The changes that reaching a state would make on this node now. */
export interface Preview {
  readonly changes: readonly Change[];
  /** Items that were not made for the state, and sections that could not be read. */
  readonly problems: readonly { readonly section: Section; readonly item?: string; readonly why: string }[];
}

/** The longest that the observation of one section may take, in ms. */
const observeMs = 30_000;

/** Observes the node, and plans every section. Changes nothing. */
export async function previewState(
  controllers: readonly Controller[],
  state: NodeState,
  owned: OwnedItems,
): Promise<Preview> {
  const changes: Change[] = [];
  const problems: Preview['problems'][number][] = [];
  for (const controller of controllers) {
    const { section } = controller;
    try {
      const desired = controller.items(state);
      const records = new Map<string, Owned>(Object.entries(owned[section] ?? {}));
      const limits = { signal: AbortSignal.timeout(observeMs) };
      const names = new Set([...desired.keys(), ...records.keys()]);
      // A section without anything to compare needs no daemon.
      if (names.size === 0) continue;
      const observed = await controller.observe(names, limits);
      const plan = planChanges(controller, { desired, observed, owned: records });
      for (const change of plan.changes) {
        const isKept = change.action === 'delete' && (await controller.stays?.(change.name, state, limits));
        if (isKept !== true) changes.push(change);
      }
      append(
        problems,
        plan.conflicts.map(({ name, why }) => ({ section, item: name, why })),
      );
    } catch (thrown) {
      problems.push({ section, why: isPortcullisError(thrown) ? thrown.message : reasonOf(thrown) });
    }
  }
  return { changes, problems };
}

const signs = { create: '+', update: '~', delete: '-' } as const;

/** Returns the plan as a diff: a line for each change, below its section; empty if nothing would change. */
export function formatPreview({ changes }: Preview): string {
  const lines: string[] = [];
  for (const [section, ofSection] of Map.groupBy(changes, (change) => change.section)) {
    lines.push(`${section}:`);
    for (const { action, name, from, to, before } of ofSection) {
      lines.push(`  ${signs[action]} ${name}`);
      if (from !== undefined) lines.push(`      - ${from}`);
      if (to !== undefined) lines.push(`      + ${to}${before === undefined ? '' : ' (the original value)'}`);
    }
  }
  return lines.map((line) => `${line}\n`).join('');
}
