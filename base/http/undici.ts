/**
 * The parts of undici that are used here. Its entry point also loads fetch, WebSocket, caches and mocks,
 * which takes 25 ms of processor time and 7 MB of memory in each process.
 */
import type * as undici from 'undici';
import api from 'undici/lib/api/index.js';
import buildConnectorOfUndici from 'undici/lib/core/connect.js';
import AgentOfUndici from 'undici/lib/dispatcher/agent.js';
import Dispatcher from 'undici/lib/dispatcher/dispatcher.js';
import PoolOfUndici from 'undici/lib/dispatcher/pool.js';
import ProxyAgentOfUndici from 'undici/lib/dispatcher/proxy-agent.js';

// As the entry point does.
Object.assign(Dispatcher.prototype, api);

// The types are those of the entry point: a user of our declarations knows only that.
export const Agent: typeof undici.Agent = AgentOfUndici;
export const Pool: typeof undici.Pool = PoolOfUndici;
export const ProxyAgent: typeof undici.ProxyAgent = ProxyAgentOfUndici;
export const buildConnector: typeof undici.buildConnector = buildConnectorOfUndici;
