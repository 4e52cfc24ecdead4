// Elements of the page: found, made, described.

export const find = (id) => document.getElementById(id);

/** An element with its properties and children; strings become text, never markup. */
export function make(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in made) made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

/** A bar that is `share` of its width long. */
export function bar(share) {
  const made = make("span", { className: "bar" });
  made.style.setProperty("--share", Math.min(Math.max(share, 0), 1).toFixed(4));
  return made;
}

/** A chip that a click, Enter or Space takes away. */
export function chip(content, name, remove) {
  const button = make("button", { type: "button", className: "chip", onclick: remove }, content);
  button.setAttribute("aria-label", `Remove ${name}`);
  button.title = `Remove ${name}`;
  button.append(make("span", { ariaHidden: "true" }, "×"));
  return make("li", {}, button);
}

/** What stands where results would: what is the matter, and what helps. */
export function notice(title, text, ...actions) {
  return [
    make("h2", {}, title),
    make("p", {}, text),
    ...actions.map(([label, act]) => make("button", { type: "button", onclick: act }, label)),
  ];
}

/** Calls `act` when there was no other call for `ms` milliseconds. */
export function settled(act, ms) {
  let timer;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(act, ms);
  };
}
