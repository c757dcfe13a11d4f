import {
  airflow, ask, badge, base, element, followAirflow, inPath, moment, openLinksInAirflow, plain, seconds, tellProblem,
} from "./page.js";

const PAGE = 24;
const LIVE_MS = 3000;
const GROUPS = [["", "All"], ["waiting", "Waiting"], ["done", "Done"], ["failed", "Failed"], ["other", "Skipped"]];
const at = (id) => document.getElementById(id);
const [, dagId, runId] = location.pathname.match(/\/dags\/([^/]+)\/runs\/([^/]+)$/).map(decodeURIComponent);
// A run's id may begin as another scheme would.
const here = `./${location.pathname.split("/").pop()}`;
const asked = new URLSearchParams(airflow ? airflow.location.search : location.search);
const view = { group: "", offset: 0, task_id: asked.get("task_id"), map_index: asked.get("map_index") };
const cards = new Map();
let shown = { items: [], usual: {} };
let open = null;
let skew = 0;

followAirflow();
openLinksInAirflow();
begin();

function begin() {
  at("title").textContent = runId;
  const dag = at("dag");
  dag.textContent = dagId;
  dag.href = `${base}/dags/${inPath(dagId)}/runs/${inPath(runId)}`;
  document.querySelector("[data-airflow]").href = `${base}/`;
  at("head").hidden = Boolean(airflow);
  document.title = `Kling: ${dagId}`;
  at("back").onclick = () => turn(-PAGE);
  at("next").onclick = () => turn(PAGE);
  at("close").onclick = () => at("detail").close();
  at("item-back").onclick = () => step(-1);
  at("item-next").onclick = () => step(1);
  at("detail").onclose = () => {
    at("stage").replaceChildren();
    cards.get(open)?.card.focus();
    open = null;
  };
  at("detail").addEventListener("click", (event) => event.target === at("detail") && at("detail").close());
  document.addEventListener("keydown", (event) => {
    if (open === null || event.target instanceof HTMLInputElement || event.target instanceof HTMLMediaElement) return;
    if (event.key === "ArrowLeft") step(-1);
    if (event.key === "ArrowRight") step(1);
  });
  setInterval(tick, 1000);
  live();
}

async function live() {
  await load();
  const going = shown.summary?.waiting || ["running", "queued"].includes(shown.run?.state);
  if (going) setTimeout(live, document.hidden ? 5 * LIVE_MS : LIVE_MS);
}

async function load(change = {}) {
  Object.assign(view, change);
  const query = new URLSearchParams({ offset: view.offset, limit: PAGE });
  for (const name of ["group", "task_id", "map_index"]) if (view[name]) query.set(name, view[name]);
  const wanted = query.toString();
  view.wanted = wanted;
  try {
    const told = await ask(`${here}/items?${wanted}`);
    if (view.wanted !== wanted) return; // another page was asked for since
    shown = told;
    skew = Date.parse(told.now) - Date.now();
    tellProblem(told.cut.length ? `Of ${told.cut.join(", ")}, only the first rows are shown: there are too many.`
      : told.roots || !told.summary.done ? "" : "[kling] media_roots is not set: no stored file is shown.");
    show();
  } catch (error) {
    tellProblem(error.message);
  }
  at("grid").removeAttribute("aria-busy");
}

const turn = (by) => load({ offset: Math.max(0, view.offset + by) }).then(() => scrollTo({ top: 0 }));

const button = (properties, onclick, ...children) => element("button", { type: "button", onclick, ...properties }, ...children);

function show() {
  const { summary, items, total } = shown;
  at("groups").replaceChildren(
    ...GROUPS.filter(([group]) => !group || summary[group] || view.group === group).map(([group, name]) =>
      button({ "aria-pressed": String(view.group === group) }, () => load({ group, offset: 0 }), `${name} `,
        element("b", {}, plain(summary[group || "total"])))),
  );
  at("money").textContent = [
    summary.units === null ? "" : `${plain(summary.units)} ${summary.units === 1 ? "unit" : "units"}`,
    summary.usd === null ? "" : `$${plain(summary.usd, 3)} at list price`,
  ].filter(Boolean).join(", ");
  showFilter();
  const grid = at("grid");
  const keys = new Set(items.map((item) => item.key));
  for (const key of [...cards.keys()]) if (!keys.has(key)) cards.delete(key);
  grid.replaceChildren(...items.map(cardOf));
  if (!items.length) grid.append(element("p", { class: "soft" }, summary.total ? "None of these." : "No Kling tasks in this run yet."));
  at("pages").hidden = total <= PAGE;
  at("back").disabled = view.offset === 0;
  at("next").disabled = view.offset + PAGE >= total;
  at("where").textContent = `${plain(Math.min(view.offset + 1, total))}-${plain(Math.min(view.offset + PAGE, total))} of ${plain(total)}`;
  tick();
}

function showFilter() {
  const only = at("only");
  only.hidden = !view.task_id;
  const of = JSON.stringify([view.task_id, view.map_index]);
  if (!view.task_id || only.dataset.of === of) return;
  only.dataset.of = of;
  const all = button({ class: "link" }, () => load({ task_id: null, map_index: null, offset: 0 }), "Show all of the run");
  only.replaceChildren("Only task ", element("b", {}, view.task_id), Number(view.map_index) >= 0 ? ` [${view.map_index}]` : "", ". ", all);
}

function cardOf(item) {
  const told = JSON.stringify(item);
  const known = cards.get(item.key);
  if (known?.told === told) return known.card;
  const card = button({ class: "card" }, () => showDetail(item.key), face(item), element("span", { class: "under" },
    element("span", { class: "name" }, nameOf(item)), element("span", { class: "soft" }, line(item))));
  cards.set(item.key, { card, told });
  if (open === item.key) showDetail(item.key);
  return card;
}

const nameOf = (item) => item.task_id + (item.map_index < 0 ? "" : ` [${item.label || item.map_index}]`)
  + (item.row === null ? "" : ` #${item.row} ${lastOf(item.source?.text)}`);
const lastOf = (place) => (place || "").startsWith("task ") ? "" : (place || "").split("/").pop();

function line(item) {
  if (item.batch) return `batch of ${plain(item.batch.rows ?? 0)} pictures`;
  if (item.group !== "done") return item.remote_id ? `remote ${item.remote_id}` : item.family || "";
  return [
    item.width && item.height ? `${item.width} × ${item.height}` : item.family,
    item.duration ? `${plain(item.duration, 1)} s` : "",
    item.units === null ? "" : `${plain(item.units)} ${item.units === 1 ? "unit" : "units"}${item.outputs > 1 ? ` for ${item.outputs}` : ""}`,
  ].filter(Boolean).join(" · ");
}

/** The upper part of a card. */
function face(item) {
  const place = element("span", { class: "face" });
  if (item.batch) {
    place.append(...batchFace(item));
  } else if (item.group === "waiting") {
    place.append(...waitingFace(item));
  } else if (item.media && item.kind === "image") {
    place.append(picture(`${here}/${item.media}/small`, "", place));
  } else if (item.media && item.kind === "video") {
    if (item.source?.media) {
      const poster = picture(`${here}/${item.source.media}/small`, "", null);
      poster.onerror = () => poster.remove();
      place.append(poster);
    }
    place.append(element("span", { class: "play", "aria-hidden": "true" }, "▶"));
  } else if (item.media) {
    place.append(element("span", { class: "play", "aria-hidden": "true" }, "♪"));
  } else {
    place.classList.add("missing");
    place.append(badge(item.state), element("span", { class: "reason" }, item.message || "See the task's log"));
  }
  return place;
}

function waitingFace(item) {
  const begun = item.submitted_at || item.started_at;
  const usual = shown.usual[item.task_id];
  const bar = element("progress", { class: "bar-of-time", max: "1", "aria-label": "Elapsed of the usual time" });
  const parts = [badge(item.state)];
  if (begun) {
    parts.push(element("span", { class: "elapsed", "data-since": begun, "data-usual": usual ? String(usual) : null }, "…"));
    if (usual) parts.push(bar);
  }
  parts.push(element("span", { class: "soft" }, usual ? `usually ${seconds(usual)}` : item.submitted_at ? "submitted" : "not submitted yet"));
  return parts;
}

/** A batch whose pictures are not shown one by one: how far it is, or what became of it. */
function batchFace({ batch, state, group }) {
  if (group === "waiting" && batch.done !== null) {
    const { rows, done, failed, running } = batch;
    const bar = element("progress", { class: "bar-of-time", max: String(rows || 1), "aria-label": "Pictures done" });
    bar.value = done;
    return [badge(state), element("span", { class: "elapsed" }, `${plain(done)} of ${plain(rows ?? 0)}`), bar,
      element("span", { class: "soft" }, [failed ? `${plain(failed)} failed` : "", `${plain(running ?? 0)} running`].filter(Boolean).join(", "))];
  }
  const counts = Object.entries(batch.counts).map(([name, count]) => `${plain(count)} ${name}`).join(", ");
  return [badge(state), element("span", {}, counts), batch.reason ? element("span", { class: "reason" }, batch.reason) : ""]
    .filter(Boolean);
}

/** A picture that says why, where it cannot be shown. */
function picture(address, text, place) {
  const made = element("img", { alt: text, loading: "lazy", decoding: "async", onload: () => made.classList.add("here") });
  if (place) made.onerror = () => explain(address, made, place);
  made.src = address;
  return made;
}

async function explain(address, made, place) {
  let reason = "it cannot be shown";
  try {
    const answer = await fetch(address);
    if (!answer.ok) reason = (await answer.json()).reason || reason;
  } catch {
    reason = "the API server did not answer";
  }
  made.remove();
  place.classList.add("missing");
  place.append(element("span", { class: "reason" }, element("b", {}, "No preview"), ` ${reason}`));
}

function tick() {
  const now = Date.now() + skew;
  for (const place of document.querySelectorAll("[data-since]")) {
    const passed = (now - Date.parse(place.dataset.since)) / 1000;
    place.textContent = seconds(passed);
    const bar = place.parentElement.querySelector("progress");
    if (bar) bar.value = Math.min(1, passed / Number(place.dataset.usual));
  }
}

// --- the detail ---------------------------------------------------------------------------------------------------

function step(by) {
  const index = shown.items.findIndex((item) => item.key === open) + by;
  if (shown.items[index]) showDetail(shown.items[index].key);
}

function showDetail(key) {
  const index = shown.items.findIndex((item) => item.key === key);
  const item = shown.items[index];
  open = key;
  at("detail-title").replaceChildren(nameOf(item), " ", badge(item.state));
  at("item-back").disabled = index === 0;
  at("item-next").disabled = index === shown.items.length - 1;
  at("facts").replaceChildren(factsOf(item));
  showStage(item);
  if (!at("detail").open) at("detail").showModal();
  tick();
}

async function showStage(item) {
  const stage = at("stage");
  stage.classList.remove("missing");
  if (!item.media || item.batch || item.group === "waiting") {
    const place = face(item);
    place.classList.add("large");
    stage.replaceChildren(place);
  } else if (item.kind === "image") {
    const border = await borderOf(item);
    if (open !== item.key) return;
    stage.replaceChildren(item.source?.media ? (border ? compare(item, border) : pair(item)) : alone(item));
  } else {
    stage.replaceChildren(player(item));
  }
}

async function borderOf(item) {
  if (item.source?.border || !item.source?.media?.startsWith("source/") || item.family !== "image-expansion") return item.source?.border;
  try {
    item.source.border = await ask(`${here}/${item.source.media}/border`);
  } catch {
    return null;
  }
  return item.source.border;
}

function fit(made, width, height) {
  made.style.setProperty("--ratio", String(width / height));
  made.style.aspectRatio = `${width} / ${height}`;
}

function alone(item) {
  const frame = element("div", { class: "frame" });
  if (item.width && item.height) fit(frame, item.width, item.height);
  frame.append(picture(`${here}/${item.media}/large`, `The result of ${nameOf(item)}`, frame));
  return frame;
}

function pair(item) {
  const before = element("div", { class: "frame" });
  before.append(picture(`${here}/${item.source.media}/large`, "The source picture", before));
  return element("div", { class: "pair" },
    element("figure", {}, before, element("figcaption", {}, "Before")),
    element("figure", {}, alone(item), element("figcaption", {}, "After")));
}

function compare(item, border) {
  const frame = element("div", { class: "frame compare" });
  if (item.width && item.height) fit(frame, item.width, item.height);
  const place = (made) => {
    for (const side of ["left", "top", "width", "height"]) made.style[side] = `${100 * border[side]}%`;
    return made;
  };
  const old = place(element("div", { class: "before" }));
  old.append(picture(`${here}/${item.source.media}/large`, "The source picture", old));
  const fresh = element("div", { class: "after" });
  const result = picture(`${here}/${item.media}/large`, `The result of ${nameOf(item)}`, frame);
  result.addEventListener("load", () => fit(frame, result.naturalWidth, result.naturalHeight), { once: true });
  fresh.append(result);
  const line = place(element("div", { class: "border" }));
  const range = element("input", { type: "range", min: "0", max: "100", value: "50",
    "aria-label": "How much of the picture shows as it was before" });
  const move = () => {
    frame.style.setProperty("--at", `${range.value}%`);
    range.setAttribute("aria-valuetext", `${range.value} % before, ${100 - range.value} % after`);
  };
  range.oninput = move;
  move();
  frame.append(old, fresh, line, element("span", { class: "tag left" }, "before"),
    element("span", { class: "tag right" }, "after"), range, element("div", { class: "handle" }));
  const shows = element("input", { type: "checkbox", checked: true, onchange: () => { line.hidden = !shows.checked; } });
  return element("div", { class: "compared" }, frame, element("label", { class: "soft" }, shows, " The old border",
    border.exact ? "" : " (by the plan)", element("span", { class: "key" })));
}

function player(item) {
  const sound = item.kind === "audio";
  const frame = element("div", { class: "frame" });
  if (!sound) fit(frame, item.width || 16, item.height || 9);
  const made = element(sound ? "audio" : "video", { controls: true, preload: "metadata", "aria-label": `The result of ${nameOf(item)}` });
  if (!sound) {
    made.muted = made.loop = made.playsInline = true;
    if (item.source?.media) made.poster = `${here}/${item.source.media}/large`;
    made.autoplay = !matchMedia("(prefers-reduced-motion: reduce)").matches;
  }
  const address = `${here}/${item.media}/file`;
  made.addEventListener("error", () => explain(address, made, frame), { once: true });
  made.src = address;
  frame.append(made);
  return frame;
}

function showAlone(item) {
  return button({ class: "link" }, () => {
    at("detail").close();
    load({ task_id: item.task_id, map_index: String(item.map_index), offset: 0, group: "" });
  }, "Show this batch alone");
}

function factsOf(item) {
  const run = `${base}/dags/${inPath(dagId)}/runs/${inPath(runId)}`;
  const mapped = item.map_index < 0 ? "" : `/mapped/${item.map_index}`;
  const rows = [
    ["Task", element("a", { href: `${run}/tasks/${inPath(item.task_id)}${mapped}` }, nameOf(item))],
    ["Waiting for", item.group === "waiting" && (item.submitted_at || item.started_at)
      ? element("span", { "data-since": item.submitted_at || item.started_at }, "…") : ""],
    ["Usual time", item.group === "waiting" && shown.usual[item.task_id] ? seconds(shown.usual[item.task_id]) : ""],
    ["Remote task", item.remote_id && element("code", {}, item.remote_id)],
    ["Remote status", item.remote_status],
    [item.row === null ? "Kling says" : "Reason", item.message],
    ["Family", item.family],
    ["Prompt", item.prompt],
    ["Source", item.source?.text],
    ["Size", [item.width && item.height ? `${item.width} × ${item.height} px` : "", item.duration ? `${plain(item.duration, 2)} s` : "",
      item.size_bytes ? `${plain(item.size_bytes / 1e6)} MB` : ""].filter(Boolean).join(", ")],
    ["Took", item.seconds === null ? "" : seconds(item.seconds)],
    ["Pictures", item.batch && Object.entries({ ...item.batch.counts, ...(item.group === "waiting" ? { done: item.batch.done,
      failed: item.batch.failed, running: item.batch.running } : {}) }).filter(([, count]) => count)
      .map(([name, count]) => `${plain(count)} ${name}`).join(", ")],
    ["Results", item.batch?.results && element("code", {}, item.batch.results)],
    ["Not shown", item.batch?.reason && element("span", {}, `${item.batch.reason}. `, showAlone(item))],
    ["Units", item.units === null ? "" : plain(item.units) + (item.outputs > 1 ? `, for ${item.outputs} outputs` : "")],
    ["List price", item.usd === null ? "" : `$${plain(item.usd, 3)}`],
    ["Stored at", item.uri],
    ["File", item.media && item.uri ? element("a", { href: `${here}/${item.media}/file`, target: "_blank" }, "Open the stored file") : ""],
    ["Try", item.try_number > 1 ? String(item.try_number) : ""],
    ["Ended", moment(item.ended_at)],
  ];
  return element("dl", {}, ...rows.filter(([, value]) => value).flatMap(([name, value]) => [
    element("dt", {}, name), element("dd", {}, value)]));
}
