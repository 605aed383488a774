export { callAdmin } from './admin/client.ts';
export { serveAdmin } from './admin/server.ts';
export type { AdminServer, AnswerAdmin } from './admin/server.ts';
export type { AdminApi, AdminOperation, AdminResponse } from './admin/operations.ts';
export { createNetworkEngine, openPluginEngine } from './engine/engine.ts';
export type { NetworkEngineOptions, PluginEngine } from './engine/engine.ts';
export type { CallPlugin, Caller, PluginCall } from './calls/plugin-call.ts';
export { defaultCniSocket, installPlugins, installedPlugins } from './cni/client/install.ts';
export type { Installation, InstallOptions, InstalledPlugin } from './cni/client/install.ts';
export { createDockerDriver } from './libnetwork/driver/driver.ts';
export type { DockerDriver, DockerDriverOptions } from './libnetwork/driver/driver.ts';
export { deviceOf } from './followed-files/cached-device.ts';
export { makeGate, setGate } from './followed-files/folder-gate.ts';
export { leadsElsewhere } from './followed-files/folder-links.ts';
export type { GatedFolder } from './followed-files/folder-gate.ts';
export { startNameServer } from './dns/name-server.ts';
export type { NameServer } from './dns/name-server.ts';
export type { NameFigures, NameServerSettings } from './dns/protocol.ts';
export { collectConnections, connectNetwork, disconnectNetwork } from './manage/connect.ts';
export type { Connection, ConnectSource } from './manage/connect.ts';
export { createNetwork, findPodNetwork, planNetwork, removeNetwork, requireNetwork } from './manage/conflist-file.ts';
export { freeSubnet, requireFreeSubnet } from './manage/free-subnet.ts';
export type { NewNetwork } from './manage/conflist-file.ts';
export { claimNetworkNamespace } from './namespaces/namespace-claim.ts';
export { forwardDroppers } from './manage/forwarding.ts';
export { askNetworkReport, readNetworkReport } from './manage/report.ts';
export type { ReportedAttachment, ReportedNetwork, ReportSource } from './manage/report.ts';
export { startOverlay } from './overlay/overlay.ts';
export type { Overlay } from './overlay/overlay.ts';
export type { OverlayQuestion, OverlayStatus } from './overlay/protocol.ts';
export type { OverlaySettings } from './overlay/records/settings.ts';
export { askDaemon } from './cni/server/ask.ts';
export { hasServices } from './services/control/has-services.ts';
export type { ServiceFigures, ServiceList, ServiceQuestion } from './services/control/protocol.ts';
export { startServices } from './services/control/services.ts';
export type { Services } from './services/control/services.ts';
export type { AppliedServices, SwitchedBalancer } from './services/control/questions.ts';
export { fieldText } from './services/description/parts.ts';
export { linesOf, positionIn, readServices } from './services/description/read.ts';
export { readText } from './services/description/source-text.ts';
export type { RefusedService, Service, ServiceControl } from './services/model/model.ts';
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
