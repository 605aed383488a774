import { reasonOf } from '../../base/errors/index.ts';
import { append } from '../../base/lists/index.ts';

/**
 * Like Promise.all, but waits for every part before it fails. So no part is still being created while the
 * others are undone, and no late write overtakes a newer one.
 */
export async function settleAll<Parts extends readonly unknown[]>(
  parts: Parts,
): Promise<{ -readonly [Index in keyof Parts]: Awaited<Parts[Index]> }> {
  const settled = await Promise.allSettled(parts);
  for (const part of settled) if (part.status === 'rejected') throw part.reason;
  return settled.map((part) => (part as PromiseFulfilledResult<unknown>).value) as {
    -readonly [Index in keyof Parts]: Awaited<Parts[Index]>;
  };
}

/** An action that failed, and why. */
export interface Unsettled {
  readonly on: string;
  readonly why: string;
}

export interface SettledAct {
  readonly on: string;
  readonly act: () => Promise<readonly Unsettled[] | void>;
}

/**
 * Runs all actions in parallel. No failure stops another action. @returns the actions that failed, and the
 * failures that the others report
 */
export async function settleActs(acts: readonly SettledAct[]): Promise<readonly Unsettled[]> {
  const found = await Promise.all(
    acts.map(async ({ on, act }) => {
      try {
        return (await act()) ?? [];
      } catch (cause) {
        return [{ on, why: reasonOf(cause) }];
      }
    }),
  );
  return found.flat();
}

/** Like {@link settleActs}, one action after another. */
export async function settleInTurn(acts: readonly SettledAct[]): Promise<readonly Unsettled[]> {
  const left: Unsettled[] = [];
  for (const act of acts) append(left, await settleActs([act]));
  return left;
}
