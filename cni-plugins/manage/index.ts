export {
  createNetwork,
  findPodNetwork,
  planNetwork,
  refuseInvalid,
  removeNetwork,
  requireNetwork,
} from './conflist-file.ts';
export type { NewNetwork } from './new-network.ts';
export { collectConnections, connectNetwork, disconnectNetwork } from './connect.ts';
export type { Connection, ConnectSource } from './connect.ts';
export { forwardDroppers } from './forwarding.ts';
export { freeSubnet, requireFreeSubnet } from './free-subnet.ts';
export { askNetworkReport } from './ask-report.ts';
export { readNetworkReport } from './report.ts';
export type { ReportedAttachment, ReportedNetwork, ReportSource } from './report.ts';
