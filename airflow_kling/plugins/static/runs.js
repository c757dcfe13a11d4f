import { ask, badge, base, element, followAirflow, inPath, moment, openLinksInAirflow, tellProblem } from "./page.js";

followAirflow();
openLinksInAirflow();

const table = document.getElementById("runs");
try {
  const { runs } = await ask("runs");
  const rows = runs.map((run) => {
    const place = `dags/${inPath(run.dag_id)}/runs/${inPath(run.run_id)}`;
    const link = (text, address) => element("a", { href: address }, text);
    return element(
      "tr",
      {},
      element("td", {}, link(run.dag_id, `${base}/dags/${inPath(run.dag_id)}`)),
      element("td", {}, link(run.run_id, `${base}/${place}/plugin/kling-run`)),
      element("td", {}, badge(run.state)),
      element("td", {}, moment(run.started_at)),
      element("td", { class: "right" }, String(run.tasks)),
    );
  });
  table.tBodies[0].replaceChildren(...rows);
  table.hidden = !rows.length;
  if (!rows.length) tellProblem("No DAG run that you may read has made anything with Kling yet.");
} catch (error) {
  tellProblem(error.message);
}
