import { createHash } from 'node:crypto';
import { PortcullisError } from '../../../base/errors/index.ts';
import type { SELinuxOption } from '../../cri/contract/contract.types.ts';

/** An SELinux context in its four parts: `user:role:type:level`. The level may contain colons itself. */
export interface SeLinuxContext {
  readonly user: string;
  readonly role: string;
  readonly type: string;
  readonly level: string;
}

/** Labels of one container: of its processes, and of the files that it may use. */
export interface SeLinuxLabels {
  readonly process: string;
  readonly mount: string;
}

/** The contexts for containers in the policy of the node (selinux: lxc_contexts). */
export interface ContainerContexts {
  readonly process: SeLinuxContext;
  readonly file: SeLinuxContext;
}

const namePart = /^[A-Za-z0-9_.-]{1,255}$/;
/** `s0`, `s0-s15`, `s0:c1,c2`, `s0:c0.c1023-s1:c3`: sensitivities and categories of a multi-level policy. */
const sensitivity = /^s\d{1,2}(:c\d{1,4}([.,]c\d{1,4})*)?$/;

/**
 * Returns the requested context, with each field that is not empty: the options of the container, otherwise
 * those of its pod. Undefined when all are empty. Pure. Source: cri-api SELinuxOption.
 * @throws PortcullisError RUNTIME_BAD_SELINUX
 */
export function seLinuxRequest(
  container: SELinuxOption | undefined,
  pod: SELinuxOption | undefined,
): Partial<SeLinuxContext> | undefined {
  const given = [container, pod].find(
    (options) =>
      options !== undefined &&
      [options.user, options.role, options.type, options.level].some((part) => part !== ''),
  );
  if (given === undefined) return undefined;
  for (const field of ['user', 'role', 'type'] as const) {
    if (given[field] !== '' && !namePart.test(given[field]))
      throw badSeLinux(
        given[field],
        `it is not the name of a ${field}`,
        'give a name of the policy, such as container_t',
      );
  }
  if (given.level !== '' && !isLevel(given.level))
    throw badSeLinux(given.level, 'it is not a level', 'write it like s0:c1,c2');
  return Object.fromEntries(
    Object.entries(given).filter(([key, value]) => value !== '' && key in emptyContext),
  );
}

const emptyContext: SeLinuxContext = { user: '', role: '', type: '', level: '' };

function isLevel(text: string): boolean {
  const [low = '', high, ...more] = text.split('-');
  return more.length === 0 && sensitivity.test(low) && (high === undefined || sensitivity.test(high));
}

/**
 * Returns the labels of a container: the contexts of the policy, with the requested parts in their place. For
 * files only user and level change, as in other runtimes. A pod without a level gets two categories from its
 * id, so that containers of different pods cannot access each other's files. Privileged containers get the
 * type that the policy leaves unconfined, unless another one is requested. Pure.
 * Source: github.com/opencontainers/selinux, go-selinux/label (InitLabels).
 */
export function seLinuxLabels(input: {
  readonly contexts: ContainerContexts;
  readonly asked: Partial<SeLinuxContext> | undefined;
  readonly privileged: boolean;
  readonly sandboxId: string;
}): SeLinuxLabels {
  const { contexts, asked } = input;
  const level =
    asked?.level ??
    (input.privileged ? contexts.process.level : ownLevel(contexts.process.level, input.sandboxId));
  const process = { ...contexts.process, ...(input.privileged && { type: privilegedType }), ...asked, level };
  const file = { ...contexts.file, ...(asked?.user !== undefined && { user: asked.user }), level };
  return { process: formatContext(process), mount: formatContext(file) };
}

/**
 * Returns a sentence for the list of degraded settings: a label was requested, and SELinux is not enabled to
 * enforce it. Pure.
 */
export function notLabelled(asked: Partial<SeLinuxContext>): string {
  const parts = Object.entries(asked).map(([part, value]) => `${part} ${value}`);
  return `selinux_options (${parts.join(', ')}) are not applied: SELinux is not enabled in this kernel`;
}

const privilegedType = 'spc_t';
const categories = 1024;

/** Returns two different categories, the lower one first, below the sensitivity of the policy. */
function ownLevel(base: string, sandboxId: string): string {
  const digest = createHash('sha256').update(sandboxId).digest();
  const first = digest.readUInt16LE(0) % categories;
  const second = (first + 1 + (digest.readUInt16LE(2) % (categories - 1))) % categories;
  const [low, high] = first < second ? [first, second] : [second, first];
  return `${base.split(':')[0] ?? 's0'}:c${low},c${high}`;
}

export function parseContext(text: string): SeLinuxContext | undefined {
  const [user = '', role = '', type = '', ...level] = text.split(':');
  return user === '' || role === '' || type === '' ? undefined : { user, role, type, level: level.join(':') };
}

function formatContext({ user, role, type, level }: SeLinuxContext): string {
  return [user, role, type, ...(level === '' ? [] : [level])].join(':');
}

export function badSeLinux(on: string, why: string, fix: string): PortcullisError {
  return new PortcullisError({
    code: 'RUNTIME_BAD_SELINUX',
    kind: 'invalid',
    attempted: 'use selinux_options',
    on: JSON.stringify(on.slice(0, 80)),
    why,
    fix,
  });
}
