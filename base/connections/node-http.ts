/**
 * Node's HTTP module, without the cost of importing it: an `import` reads every export, and one of them loads
 * the copy of undici inside Node (fetch, WebSocket), which takes 50 ms of processor time and 16 MB of memory
 * in each process.
 */
const http = process.getBuiltinModule('node:http');

/** {@link https://nodejs.org/api/http.html#httpcreateserveroptions-requestlistener} */
export const createHttpServer = http.createServer;
/** {@link https://nodejs.org/api/http.html#httprequesturl-options-callback} */
export const httpRequest = http.request;
/** {@link https://nodejs.org/api/http.html#httpgeturl-options-callback} */
export const httpGet = http.get;
/** {@link https://nodejs.org/api/http.html#class-httpagent} */
export const HttpAgent = http.Agent;
