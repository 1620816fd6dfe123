// A Restate handler of steps that touch nothing, served by the TypeScript SDK.
import { createRequire } from "node:module";

const restate = createRequire(`${process.env.RESTATE_HOME}/`)("@restatedev/restate-sdk");

const flow = restate.service({
  name: "Flow",
  handlers: {
    run: async (context, { steps }) => {
      let out = null;
      for (let place = 0; place < steps; place++) {
        out = await context.run(`step ${place}`, () => ({ place }));
      }
      return out;
    },
  },
});

restate.endpoint().bind(flow).listen(Number(process.argv[2]));
