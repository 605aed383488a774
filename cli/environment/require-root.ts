import { PortcullisError } from '../../base/errors/index.ts';

/**
 * Refuses a command that only root can run, before it changes anything.
 * @param why what only root can do, as the end of "only root can"
 * @throws PortcullisError CLI_NOT_ROOT
 */
export function requireRoot(attempted: string, why: string): void {
  const user = process.getuid?.();
  if (user === 0) return;
  throw new PortcullisError({
    code: 'CLI_NOT_ROOT',
    kind: 'precondition',
    attempted,
    on: '',
    why: `only root can ${why}, and this user has the id ${user ?? 'unknown'}`,
    fix: 'run it with sudo',
  });
}
