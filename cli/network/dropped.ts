import { forwardDroppers } from '../../cni-plugins/index.ts';

/**
 * Warns when another chain drops what a valid network forwards. Without the warning nothing would explain why
 * the network carries no traffic.
 */
export function reportDropped(bridges: readonly string[]): void {
  if (process.getuid?.() !== 0) return;
  const droppers = forwardDroppers();
  if (droppers.length === 0) return;
  const rules = bridges.flatMap((bridge) => [
    `  iptables -I DOCKER-USER -i ${bridge} -j ACCEPT`,
    `  iptables -I DOCKER-USER -o ${bridge} -m conntrack --ctstate DNAT,RELATED,ESTABLISHED -j ACCEPT`,
  ]);
  const how =
    rules.length === 0
      ? 'accept the network there'
      : `accept the network there; with docker:\n${rules.join('\n')}`;
  process.stderr.write(
    `note: ${droppers.join(', ')} drops forwarded packets unless a rule there accepts them: ${how}\n`,
  );
}
