// Plain HTTP's suites once more over the JavaScript engine: what is on the native one a short road with a long one behind it (short-forward.ts)
// is there the long one alone, and so it is for clients over TLS and behind load balancers.
process.env['SALLYPORT_ENGINE'] = 'js';
await import('./forward.test.ts');
await import('./forward-order.test.ts');
await import('./forward-origin.test.ts');
await import('./forward-smuggling.test.ts');
