// A worker as its primary sees it, and nothing more: it is ready when it has its order, repeats what it is told, and never ends by itself.
process.on('message', (message) => {
  process.send(message.type === 'order' ? { type: 'ready', engine: 'js' } : { type: 'noted', note: message });
});
process.on('disconnect', () => process.exit());
