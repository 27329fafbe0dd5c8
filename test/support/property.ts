// fast-check as the tests use it: every property draws from one fixed seed, so that a run of the tests is the same each time and a
// failure is the change's own. FC_SEED=n draws from another; FC_SEED=random from a new one each time (fast-check prints it).
import fc from 'fast-check';

const FIXED_SEED = 20_261_126;
const asked = process.env['FC_SEED'];

if (asked !== 'random') fc.configureGlobal({ ...fc.readConfigureGlobal(), seed: Number(asked ?? FIXED_SEED) });

export default fc;
