export { callAdmin } from './admin/client.ts';
export { serveAdmin } from './admin/server.ts';
export type { AdminServer, AnswerAdmin } from './admin/server.ts';
export type {
  AdminClusterPolicy,
  AdminPolicyStatus,
  AdminPolicySubscription,
} from './admin/policy-status.ts';
export type { AdminApi, AdminOperation, AdminPull, AdminResponse } from './admin/operation-types.ts';
export { createNetworkEngine, loadEngineThreadEarly, openPluginEngine } from './engine/index.ts';
export type { EngineThreadLoader, NetworkEngineOptions, PluginEngine } from './engine/index.ts';
export type { CallPlugin, Caller, PluginCall } from './calls/plugin-call.ts';
export { defaultCniSocket, installPlugins, installedPlugins } from './cni/client/install.ts';
export type { Installation, InstallOptions, InstalledPlugin } from './cni/client/install.ts';
export { createDockerDriver } from './libnetwork/index.ts';
export type { DockerDriver, DockerDriverOptions } from './libnetwork/index.ts';
export { deviceOf } from './followed-files/cached-device.ts';
export { createCheckedFolder, setFolderState } from './followed-files/checked-folder.ts';
export { leadsElsewhere } from './followed-files/folder-links.ts';
export type { CheckedFolder } from './followed-files/checked-folder.ts';
export { startNameServer } from './dns/index.ts';
export type { NameFigures, NameServer, NameServerSettings } from './dns/index.ts';
export {
  askNetworkReport,
  collectConnections,
  connectNetwork,
  createNetwork,
  disconnectNetwork,
  findPodNetwork,
  forwardDroppers,
  freeSubnet,
  planNetwork,
  readNetworkReport,
  refuseInvalid,
  removeNetwork,
  requireFreeSubnet,
  requireNetwork,
} from './manage/index.ts';
export type {
  Connection,
  ConnectSource,
  NewNetwork,
  ReportedAttachment,
  ReportedNetwork,
  ReportSource,
} from './manage/index.ts';
export { claimNetworkNamespace } from './namespaces/namespace-claim.ts';
export { openNodeNetwork } from './node-network/index.ts';
export type { NodeNetwork, NodeNetworkSettings, NodeNetworkStatus } from './node-network/index.ts';
export { followPrefix, holdLease, openEtcd, startOverlay } from './overlay/index.ts';
export type {
  EtcdAccess,
  EtcdChange,
  EtcdClient,
  Overlay,
  OverlayQuestion,
  OverlaySettings,
  OverlayStatus,
} from './overlay/index.ts';
export { askDaemon } from './cni/index.ts';
export {
  contradictionsOf,
  fieldText,
  hasServices,
  linesOf,
  positionIn,
  readServices,
  readText,
  startServices,
} from './services/index.ts';
export type {
  AppliedServices,
  RefusedService,
  Service,
  ServiceControl,
  ServiceFigures,
  ServiceList,
  ServiceQuestion,
  Services,
  SwitchedBalancer,
} from './services/index.ts';
export { membershipLabel, parseMemberships } from './spec/memberships.ts';
export { confUses } from './spec/conf-uses.ts';
export type { ConfUse } from './spec/conf-uses.ts';
export { networksIn } from './networks/networks.ts';
export type {
  AskedConnection,
  Attachment,
  AttachRequest,
  Denial,
  DenialExplanation,
  DenialQuestion,
  FurtherNetwork,
  LinkClass,
  LinkPolicy,
  CollectOptions,
  LinkAlteration,
  LinkRepairs,
  LinkRule,
  LinkRules,
  LinkState,
  NamedPort,
  NetworkEngine,
  NetworkFigures,
  NetworkStatus,
  PortMapping,
} from './types.ts';
