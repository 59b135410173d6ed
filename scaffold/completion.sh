# Tab completes `python main.py …` in bash and zsh: commands, settings, steps, their parameters.
#
#     source scaffold/completion.sh

if [ -n "${ZSH_VERSION:-}" ]; then
  _main_py() {
    if [[ ${words[2]:t} != main.py ]]; then _default; return; fi
    local main=${~words[2]}
    local -a found
    found=(${(f)"$(PYTHONPATH=${main:h} ${words[1]} -m scaffold.completion "${(@)words[3,CURRENT]}" 2>/dev/null)"})
    (( $#found )) || { compset -P '*='; _files; return; }
    compadd -S '' -- ${(M)found:#*[=.]}
    compadd -- ${found:#*[=.]}
  }
  (( $+functions[compdef] )) || { autoload -Uz compinit && compinit -D; }
  compdef _main_py python python3
else
  _main_py() {
    local typed=${COMP_LINE:0:COMP_POINT} words found
    read -ra words <<<"$typed"
    [[ $typed == *" " ]] && words+=("")
    [[ ${words[1]##*/} == main.py ]] || return
    local folder=${words[1]%main.py} word=${words[${#words[@]} - 1]}
    mapfile -t found < <(PYTHONPATH=${folder:-.} "${words[0]}" -m scaffold.completion "${words[@]:2}" 2>/dev/null)
    # What readline is to put in is what comes after the last `=`, at which it ends a word.
    [[ $word == *=* ]] && found=("${found[@]#*=}")
    COMPREPLY=("${found[@]}")
    [[ ${#found[@]} -eq 1 && ${found[0]} == *[=.] ]] && compopt -o nospace
  }
  complete -o default -F _main_py python python3
fi
