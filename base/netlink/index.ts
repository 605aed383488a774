export { familyNumber } from './generic/genl.ts';
export {
  ipvsFamilyName,
  ipvsFlags,
  ipvsRequests,
  readDestination,
  readService,
  readTimeouts,
} from './generic/ipvs.ts';
export type {
  IpvsDestination,
  IpvsRequests,
  IpvsService,
  IpvsServiceKey,
  ListedDestination,
} from './generic/ipvs.ts';
export {
  noPresharedKey,
  readWireguard,
  wireguardFamilyName,
  wireguardRequests,
} from './generic/wireguard.ts';
export type {
  ListedWireguardPeer,
  WireguardDevice,
  WireguardPeerChange,
  WireguardRequests,
} from './generic/wireguard.ts';
export {
  goesBack,
  hashed,
  numbered,
  portUnreachable,
  remember,
  resetTcp,
} from './netfilter/balancing-expressions.ts';
export { forget, forgetAddresses, listConnections } from './netfilter/connections.ts';
export type { TrackedConnection } from './netfilter/connections.ts';
export { forgetConnections, toThisHost } from './host-ports.ts';
export type { StalePort } from './host-ports.ts';
export {
  connection,
  constant,
  counter,
  destinationAsSent,
  destinationIsLocal,
  destinationTranslated,
  differs,
  equals,
  fragmentOffset,
  inSet,
  mapped,
  masked,
  masquerade,
  meta,
  notInSet,
  originalPort,
  payload,
  register,
  setFrameDestination,
  setMeta,
  sourceIsForeign,
  sourceIsLocal,
  translateDestination,
  verdict,
  verdictOf,
  within,
} from './netfilter/expressions.ts';
export { bindLogGroup, holderOfLogGroup } from './netfilter/log-groups.ts';
export { writePlainElement } from './netfilter/nft-element.ts';
export { readElements, readRule } from './netfilter/nft-answers.ts';
export type { CountedRule } from './netfilter/nft-answers.ts';
export { droppingForwardChains } from './netfilter/nft-chains.ts';
export {
  constantIn,
  numberIn,
  readChainUse,
  readListedElements,
  readListedRule,
  readRuleComment,
  verdictIn,
} from './netfilter/nft-readout.ts';
export type { ListedElement, ListedExpression, ListedRule } from './netfilter/nft-readout.ts';
export { changesBy, generationOf, transact, transactAhead } from './netfilter/nft-transactions.ts';
export {
  addChain,
  addRule,
  addTable,
  deleteChain,
  deleteTable,
  flushChain,
  getChain,
  getTable,
  listRules,
} from './netfilter/nftables.ts';
export {
  addElements,
  addEncodedElements,
  addSet,
  concatenated,
  deleteElements,
  deleteSet,
  elementBytesPerMessage,
  getElement,
  interfaceKey,
  listElements,
} from './netfilter/nft-sets.ts';
export type { Chain, Family, Table, Verdict } from './netfilter/nftables.ts';
export type { DataType, Element, NamedSet } from './netfilter/nft-sets.ts';
export { isRefusal, kernelRefused, tolerating } from './protocol/kernel-failure.ts';
export type { Attempt } from './protocol/kernel-failure.ts';
export { acknowledged, openNetlink } from './protocol/socket.ts';
export type { NetlinkSocket, Outcome, Refusal, Request } from './protocol/socket.ts';
export {
  NLM_F_CREATE,
  NLM_F_REPLACE,
  attribute,
  attributesOf,
  be16,
  be32,
  elementsOf,
  nested,
  text,
  textOf,
  u32,
  zeros,
} from './protocol/wire.ts';
export type { Message, Received } from './protocol/wire.ts';
export { setPort, setPortUp } from './rtnetlink/bridge-port-settings.ts';
export { holdAddress, holdSolicitedNode } from './rtnetlink/bridge-ports.ts';
export { addVlans, deleteVlan, filtersVlans, listVlans, setVlanFiltering } from './rtnetlink/bridge-vlans.ts';
export type { PortVlan } from './rtnetlink/bridge-vlans.ts';
export { openLinkEvents } from './rtnetlink/link-events.ts';
export type { Drained, LinkEvents } from './rtnetlink/link-events.ts';
export { changeMode, createLink, createPair, ipvlanModes, macvlanModes } from './rtnetlink/link-kinds.ts';
export type { LinkKind, NewLink } from './rtnetlink/link-kinds.ts';
export { removeLink } from './rtnetlink/link-removal.ts';
export {
  addAlternativeNames,
  deleteAlternativeNames,
  findLink,
  listSettings,
  macBytes,
  macText,
  noMac,
  moveLink,
  rename,
  setFlag,
  setMac,
  setMtu,
  setQueueLength,
} from './rtnetlink/link-settings.ts';
export type { LinkSettings } from './rtnetlink/link-settings.ts';
export {
  createBridge,
  createVeth,
  deleteGroup,
  deleteLink,
  getLink,
  listLinks,
  lookUp,
  loopbackIndex,
  readLink,
  setAlias,
  setArpNotify,
  setDown,
  setGroup,
  setMaster,
  setNoOwnIpv6,
  setPromiscuous,
  setRouteLocalnet,
  setUp,
} from './rtnetlink/links.ts';
export { RTM_DELLINK, RTM_NEWLINK } from './rtnetlink/message-numbers.ts';
export type { Link } from './rtnetlink/links.ts';
export { openNamespaceEvents } from './rtnetlink/namespace-events.ts';
export type { HeardChanges, NamespaceEvents } from './rtnetlink/namespace-events.ts';
export { isGiven, numberOf } from './rtnetlink/namespace-numbers.ts';
export {
  addForwarding,
  deleteForwarding,
  deleteNeighbour,
  listForwarding,
  listNeighbours,
  putNeighbour,
} from './rtnetlink/neighbours.ts';
export type { ForwardingEntry } from './rtnetlink/neighbours.ts';
export { indexOf, isRunning, isUp, quickLinkStat } from './rtnetlink/quick-link-stat.ts';
export type { LinkFacts, NamedLink } from './rtnetlink/quick-link-stat.ts';
export {
  addSourceRule,
  appendRoute,
  deleteRoute,
  deleteSourceRule,
  listAddresses,
  listEveryAddress,
  listEveryRoute,
  listHostAddresses,
  listRoutes,
  listRoutingRules,
  mainTable,
  putAddress,
  readAddress,
  readRoute,
  replaceRoute,
  routeScopes,
} from './rtnetlink/route-tables.ts';
export type { SourceRule, TableRoute } from './rtnetlink/route-tables.ts';
export {
  addAddress,
  addGatewayLinkLocal,
  addRoute,
  deleteAddress,
  lookUpRoute,
  readRouteLink,
} from './rtnetlink/routes.ts';
export {
  addIngress,
  addRedirection,
  deleteQdisc,
  listRedirections,
  qdiscAt,
  setTokenBucket,
} from './rtnetlink/traffic.ts';
export type { TokenBucket } from './rtnetlink/traffic.ts';
