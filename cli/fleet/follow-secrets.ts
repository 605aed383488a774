import { isDeepStrictEqual } from 'node:util';
import { printNote } from '../output/output.ts';
import type { FleetSecrets, FleetService } from '../../fleet/index.ts';

/** Writes a problem of the aggregator to standard error. */
export const report = ({ message }: { readonly message: string }): void =>
  printNote(`portcullis: ${message}\n`);

/**
 * Reads the certificate, the authorities and the tokens again at intervals, and uses them when they have
 * changed. Files that are not valid, for example because they are being written, change nothing. Each
 * problem is reported once.
 */
export function followSecrets(
  read: () => Promise<FleetSecrets>,
  { access, tls }: FleetSecrets,
  service: Pick<FleetService, 'use'>,
  everyMs: number,
): { close(): void } {
  let used: FleetSecrets = { ...(access && { access }), ...(tls && { tls }) };
  let [isReading, reported] = [false, ''];
  const look = async (): Promise<void> => {
    try {
      const found = await read();
      if (!isDeepStrictEqual(found, used)) service.use(found);
      [used, reported] = [found, ''];
    } catch (thrown) {
      const why = thrown instanceof Error ? thrown.message : String(thrown);
      if (why !== reported) report({ message: `the earlier tokens and certificates stay in use: ${why}` });
      reported = why;
    }
  };
  const timer = setInterval(() => {
    if (isReading) return;
    isReading = true;
    void look().finally(() => (isReading = false));
  }, everyMs).unref();
  return { close: () => clearInterval(timer) };
}
