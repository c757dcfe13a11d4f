// What both pages share: Airflow's looks, links that leave Airflow's frame, elements made of text alone.

const TOKENS = [
  "bg", "bg-muted", "fg", "fg-muted", "border", "border-emphasized", "brand-solid",
  "brand-contrast", "brand-muted", "success-solid", "failed-solid", "running-solid", "deferred-solid",
  "queued-solid", "scheduled-solid", "up_for_retry-solid", "upstream_failed-solid", "skipped-solid",
];

export const base = location.pathname.replace(/\/kling(\/(dags\/[^/]+\/runs\/[^/]+)?)?$/, "");

/** Airflow's own window where the page stands in its frame. */
export const airflow = (() => {
  try {
    return parent !== window && parent.document ? parent : null;
  } catch {
    return null; // another site's frame
  }
})();

export function followAirflow() {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const look = () => {
    let dark = system.matches;
    if (airflow) {
      const there = airflow.document.documentElement;
      dark = there.classList.contains("dark");
      const style = airflow.getComputedStyle(there);
      for (const name of TOKENS) {
        const value = style.getPropertyValue(`--chakra-colors-${name}`).trim();
        if (value) root.style.setProperty(`--${name}`, value);
      }
    } else {
      const chosen = localStorage.getItem("theme");
      if (chosen === "dark" || chosen === "light") dark = chosen === "dark";
    }
    root.classList.toggle("dark", dark);
    root.classList.toggle("framed", Boolean(airflow));
  };
  look();
  system.addEventListener("change", look);
  if (airflow) {
    const watch = { attributes: true, attributeFilter: ["class", "style"] };
    new MutationObserver(look).observe(airflow.document.documentElement, watch);
  }
}

/** Airflow's frame is a sandbox that no link may leave: its own document follows it instead. */
export function openLinksInAirflow() {
  document.addEventListener("click", (event) => {
    const link = event.target instanceof Element && event.target.closest("a[href]");
    if (!link || !airflow || link.dataset.here !== undefined || event.button !== 0) return;
    event.preventDefault();
    const twin = airflow.document.createElement("a");
    twin.href = link.href;
    twin.rel = "noopener";
    if (link.target || event.ctrlKey || event.metaKey || event.shiftKey) twin.target = "_blank";
    twin.click();
  });
}

/** An element; children are text or elements, never markup. */
export function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (key === "class") made.className = value;
    else if (key in made && typeof value !== "string") made[key] = value;
    else made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return made;
}

/** The rows of a batch, in the colours of the states that Airflow has. */
const LIKE = { succeeded: "success", refused: "failed", unknown: "upstream_failed", unfinished: "up_for_retry" };

export function badge(state) {
  const name = state || "no status";
  const tone = `${LIKE[name] || name}-solid`;
  const made = element("span", { class: "badge" }, name.replaceAll("_", " "));
  made.style.setProperty("--tone", `var(--${TOKENS.includes(tone) ? tone : "queued-solid"})`);
  return made;
}

export function seconds(count) {
  const whole = Math.max(0, Math.round(count));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

/** As Airflow writes ids in its addresses, by which it knows which of its tabs is open. */
export const inPath = (text) => encodeURIComponent(text).replaceAll("%3A", ":").replaceAll("%2B", "+");

export const plain = (count, digits = 2) => count.toLocaleString("en", { maximumFractionDigits: digits });
export const moment = (text) => (text ? new Date(text).toLocaleString() : "");

export async function ask(address) {
  const answer = await fetch(address, { headers: { Accept: "application/json" }, credentials: "same-origin" });
  let told = null;
  try {
    told = await answer.json();
  } catch {
    // no JSON: the status says it
  }
  if (!answer.ok) {
    const known = { 401: "Log in to Airflow first", 403: "You may not read this DAG", 404: "There is no such run" };
    throw new Error(known[answer.status] || told?.reason || `The API server answered ${answer.status}`);
  }
  return told;
}

export function tellProblem(text) {
  const place = document.getElementById("problem");
  place.textContent = text || "";
  place.hidden = !text;
}
