import { metricCatalogue } from '../../runtime/observability/catalogue.ts';
import { createServiceMetrics } from '../../trust/notary/metrics.ts';
import { cell, code, table } from './markdown.ts';

/**
 * Returns the page of all metrics: those of the daemon by its catalogue, those of the trust service by what
 * it shows.
 */
export async function metricsPage(): Promise<string> {
  const daemon = Object.values(metricCatalogue).map(({ name, type, labels, help }) => [
    code(name),
    type,
    labels.map(code).join(', '),
    cell(help),
  ]);
  const service = createServiceMetrics();
  service.watch(() => ({ open: 0, refused: 0, ended: 0 }));
  const { body } = await service.render();
  const types = new Map(
    [...body.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(({ 1: name = '', 2: type = '' }) => [name, type]),
  );
  const trust = [...body.matchAll(/^# HELP (\S+) (.*)$/gm)].map(({ 1: name = '', 2: help = '' }) => [
    code(name),
    types.get(name) ?? '',
    cell(help),
  ]);
  return `# Metrics

The daemon and the trust service report metrics in the format of Prometheus. [Observability](/observability) explains how to configure them.

## The daemon

${table(['metric', 'type', 'labels', 'meaning'], daemon)}

## The trust service

${table(['metric', 'type', 'meaning'], trust)}
`;
}
