/** Loaded before each test file: gives fast-check the seed of the run, so that a whole run can be repeated. */
import fc from "fast-check";

const seed = Number(process.env["SEED"]);
if (process.env["SEED"] !== undefined && Number.isInteger(seed)) fc.configureGlobal({ seed });
