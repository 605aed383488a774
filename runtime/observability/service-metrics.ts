import type { ServiceFigures } from '../../cni-plugins/index.ts';
import { metricCatalogue as c } from './catalogue.ts';
import type { MetricDefinition } from './catalogue.ts';

/** Sets the service metrics of a scrape. */
export function setServiceMetrics(
  figures: ServiceFigures,
  set: (definition: MetricDefinition, value: number, labels?: Record<string, string>) => void,
): void {
  for (const [source, count] of Object.entries(figures.services)) set(c.services, count, { source });
  set(c.servicesRefused, figures.refused);
  set(c.serviceBalancer, 1, { balancer: figures.balancer });
  set(c.serviceServers, figures.virtualServers);
  set(c.serviceRepairs, figures.repairs);
  for (const { service, packets } of figures.denied) set(c.serviceDenied, packets, { service });
  for (const { service, portName, backend, weight, isWell, active, connections } of figures.backends) {
    const labels = { service, port: portName, backend };
    set(c.serviceWeight, weight, labels);
    set(c.serviceWell, Number(isWell), labels);
    set(c.serviceActive, active, labels);
    if (connections !== undefined) set(c.serviceConnections, connections, labels);
  }
}
