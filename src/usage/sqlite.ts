// The values of node:sqlite; its types come from node:sqlite itself. Node 22 says in two lines on standard error that it is experimental, each
// time it is loaded, among the log lines of a proxy: what we use of it is the same from 22.14 on, and tested there.
const { emitWarning } = process;
process.emitWarning = () => {};
export const { DatabaseSync } = process.getBuiltinModule('node:sqlite');
process.emitWarning = emitWarning;
