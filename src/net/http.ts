// The values of node:http; its types come from node:http itself. An `import` of a module of Node reads each of its exports, and reading
// http.WebSocket loads all of undici: 14 MB and 60 ms of a processor at each start, for what nobody here calls.
export const nodeHttp = process.getBuiltinModule('node:http');
