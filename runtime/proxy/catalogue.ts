import { metricCatalogue } from '../observability/catalogue.ts';
import { metric } from '../observability/metric-definition.ts';

const { buildInfo, rpcDuration, rpcsInFlight, verdicts, policyInForce, policyReloadFailed, policyInfo } =
  metricCatalogue;
const { policyLoads, cpuSeconds, residentBytes, startTime } = metricCatalogue;

/** The metrics of the proxy. What the daemon has, too, has its name, so that dashboards show both. */
export const proxyCatalogue = {
  ...{ buildInfo, rpcDuration, rpcsInFlight, verdicts, policyInForce, policyReloadFailed, policyInfo },
  ...{ policyLoads, cpuSeconds, residentBytes, startTime },
  backendUp: metric(
    'proxy_backend_up',
    'gauge',
    '1 if the backend answers a Version call within 2 s. The call is made at the scrape.',
  ),
  backendConnections: metric(
    'proxy_backend_connections',
    'gauge',
    'Open connections to the backend: one for each client that made a call.',
  ),
  images: metric('proxy_images', 'gauge', 'Images of the backend that were admitted.'),
  containers: metric('proxy_containers', 'gauge', 'Containers that were created through the proxy.'),
} as const;
