// The dashboard's entry: takes the token out of the address (it must not stay in the history) and renders the app.
import { render } from 'preact';
import { App } from './app.tsx';
import { takeToken } from './token.ts';

takeToken();
const root = document.getElementById('app');
if (root !== null) render(<App />, root);
