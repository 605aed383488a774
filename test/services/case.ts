import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Balancer, Family, VirtualServer } from '../../cni-plugins/services/model/model.ts';
import { routerAddress } from './stage.ts';
import type { Stage } from './stage.ts';

/** One row of the table, and helpers for rows. */

export interface Case {
  readonly name: string;
  readonly family: Family;
  /** Belongs to the short part in `npm test`. */
  readonly quick?: boolean;
  /** These balancers do not support it: their refusal must name this field. */
  readonly refusedBy?: { readonly kind: Balancer['kind']; readonly field: string };
  /** Returns why this machine cannot run the case; absent: every machine can. */
  readonly missing?: () => string | undefined;
  readonly server: (stage: Stage) => VirtualServer;
  run(stage: Stage, server: VirtualServer): Promise<void>;
}

export const at = (server: VirtualServer): string => server.address ?? routerAddress[server.family];
export const backendOf = (answer: string): string => answer.split(' ')[0] ?? '';
export const seenBy = (answer: string | undefined): string => (answer ?? '').split(' ')[1] ?? '';

export function counted(answers: readonly string[]): Readonly<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (const answer of answers) counts[backendOf(answer)] = (counts[backendOf(answer)] ?? 0) + 1;
  return counts;
}

/** Checks that each backend's share of the connections is within 5 % of its share of the weights. */
export function within(answers: readonly string[], weights: Readonly<Record<string, number>>): void {
  const counts = counted(answers);
  const total = Object.values(weights).reduce((sum, weight) => sum + weight, 0);
  assert.deepEqual(Object.keys(counts).toSorted(), Object.keys(weights).toSorted(), JSON.stringify(counts));
  for (const [name, weight] of Object.entries(weights)) {
    const error = ((counts[name] ?? 0) * total) / (answers.length * weight) - 1;
    assert.ok(
      Math.abs(error) <= 0.05,
      `${name} is off by ${(error * 100).toFixed(1)} %: ${JSON.stringify(counts)}`,
    );
  }
}

export const greet = (
  stage: Stage,
  server: VirtualServer,
  times: number,
  froms?: readonly string[],
): Promise<string[]> => stage.client.greet(at(server), server.port, times, froms);

const families = [4, 6] as const;
export const both = (make: (family: Family) => Omit<Case, 'family'>): Case[] =>
  families.map((family) => ({ ...make(family), family }));
export const equal = { b1: 1, b2: 1, b3: 1 };

export async function eventually(body: () => Promise<boolean> | boolean): Promise<void> {
  const end = performance.now() + 30_000;
  while (!(await body())) {
    assert.ok(performance.now() < end, `the condition was not met: ${body.toString()}`);
    await sleep(50);
  }
}

/** Connects from the router itself. */
export function fromHost(address: string, port: number): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect({ host: address, port });
    socket.once('data', (data) => {
      socket.resetAndDestroy();
      resolve(data.toString().trim());
    });
    const late = setTimeout(() => socket.destroy(Object.assign(new Error(), { code: 'TIMEOUT' })), 20_000);
    socket.once('close', () => clearTimeout(late));
    socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? 'ERROR'));
  });
}
