# What the scripts rely on in PowerShell, as checks that hold in the real one and in powershell.py alike.
#requires -Version 7.4

function Assert-Equal {
    param(
        [object] $Actual,
        [object] $Expected,
        [Parameter(Mandatory)] [string] $What
    )
    if ("$Actual" -cne "$Expected") {
        throw "${What}: '$Actual' instead of '$Expected'"
    }
}

# Arguments of a function without parameters are its own, whatever they begin with, and arrays stay arrays.
function Get-Argument {
    @($args | ForEach-Object { $_ }) -join '|'
}
$two = @('a', 'b')
Assert-Equal (Get-Argument --name x --tags $two '*') '--name|x|--tags|a|b|*' 'arguments'

# What a function puts out is one thing, several, or nothing.
function Get-Several {
    param(
        [int] $Count
    )
    for ($i = 0; $i -lt $Count; $i++) {
        "$i"
    }
}
Assert-Equal @(Get-Several -Count 0).Count 0 'nothing'
Assert-Equal @(Get-Several -Count 1).Count 1 'one thing'
Assert-Equal @(Get-Several -Count 3).Count 3 'several things'
Assert-Equal ('x' -notin $null.name) $true 'nothing is in $null'
Assert-Equal @('[]' | ConvertFrom-Json).Count 0 'an empty JSON array'
Assert-Equal @('[{"name":"n1"},{"name":"n2"}]' | ConvertFrom-Json).name 'n1 n2' 'members of many'
Assert-Equal (@('[{"name":"n1"}]' | ConvertFrom-Json) | Where-Object { $_.name -eq 'N1' }).name 'n1' 'one of many'

# Operators on arrays filter them; text is compared without regard to case.
Assert-Equal (@('a', '', 'b') -ne '') 'a b' 'filter'
Assert-Equal (@('1.2.3.4', '2001:db8::1') -like '*:*') '2001:db8::1' 'filter by wildcard'
Assert-Equal ("a, b c" -split '[ ,]+' -ne '').Count 3 'split'
Assert-Equal @("$($null)" -split '[ ,]+' -ne '').Count 0 'split of nothing'
Assert-Equal ('Dev' -eq 'dev') $true 'case'
Assert-Equal ('Dev' -cnotmatch '\Adev\z') $true 'case in patterns'
Assert-Equal ("a`n" -cnotmatch '\Aa\z') $true 'the end of a text'
Assert-Equal ("a`r`nb" -replace "`r?`n", "`n    ") "a`n    b" 'replace'

# Texts.
$label = 'mq'
$table = [ordered] @{ z = 'last'; a = 'first' }
Assert-Equal "${label}v4 $($table['z']) `$x ""q""" 'mqv4 last $x "q"' 'expansion'
Assert-Equal ($table.Keys -join ',') 'z,a' 'order'
Assert-Equal ((7).ToString('000')) '007' 'numbers'
Assert-Equal ('$7$' + 60000 + '$') '$7$60000$' 'sums of texts'
Assert-Equal ($table.nothing ?? 'default') 'default' 'nothing, and a default'
Assert-Equal ('' ?? 'default') '' 'an empty text is not nothing'
Assert-Equal @($false ? '*' : @()).Count 0 'an empty choice'

# Failures.
function Get-Message {
    param(
        [Parameter(Mandatory)] [scriptblock] $Do
    )
    try {
        & $Do
        'no failure'
    } catch {
        $_.Exception.Message
    }
}
Assert-Equal (Get-Message { throw 'this' }) 'this' 'catch'
Assert-Equal (Get-Message { $null = 1 }) 'no failure' 'no catch'

# Secrets: the digests and encodings of known answers.
. "$PSScriptRoot/../../../deploy/credentials.ps1"
Assert-Equal (ConvertTo-TokenString -Token 'abc') '$token$ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0' 'SHA-256'
$string = ConvertTo-PasswordString -Plain 'password'
Assert-Equal ($string -match '\A\$7\$60000\$[A-Za-z0-9+/]{22}==\$[A-Za-z0-9+/]{86}==\z') $true 'a password string'
$known = [Security.Cryptography.Rfc2898DeriveBytes]::Pbkdf2([Text.Encoding]::UTF8.GetBytes('password'),
    [Text.Encoding]::UTF8.GetBytes('salt'), 1, [Security.Cryptography.HashAlgorithmName]::SHA512, 64)
Assert-Equal ([Convert]::ToBase64String($known)) 'hn9wzxreAs/zdSWZo6U9xK80x6ZpgVrl1RNVThyM8lLALUcKKFoFAbrZmb/pQ8CPBQI119aLHaVeY/c7YKV/zg==' 'PBKDF2'
Assert-Equal ((Get-Token) -match '\Amqttacl_[A-Za-z0-9_-]{49}\z') $true 'a token'
Write-Output 'as expected'
